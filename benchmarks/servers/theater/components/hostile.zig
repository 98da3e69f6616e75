//! Does what no actor should, when it is told to.

const std = @import("std");
const theater = @import("theater");

pub fn handleWebsocket(_: theater.Connection, event: theater.Event) !theater.Reply {
    if (event == .received and event.received == .text) {
        const deed = event.received.text;
        if (std.mem.eql(u8, deed, "panic")) @panic("as told");
        if (std.mem.eql(u8, deed, "spin")) while (true) std.mem.doNotOptimizeAway(deed);
    }
    return theater.nothing;
}
