//! A counter that several people share: each message adds one, and all are told.

const std = @import("std");
const theater = @import("theater");

pub fn handleWebsocket(_: theater.Connection, event: theater.Event) !theater.Reply {
    if (event == .received and event.received == .text) {
        const count = try std.fmt.parseInt(u64, theater.state() orelse "0", 10) + 1;
        const digits = try std.fmt.allocPrint(theater.allocator, "{d}", .{count});
        try theater.setState(digits); // JSON, in which a number is written as anywhere
        try theater.broadcast(.{ .text = digits }, .{});
    }
    return theater.nothing;
}
