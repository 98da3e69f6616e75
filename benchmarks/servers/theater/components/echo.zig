//! Texts and binary messages come back as they were.

const theater = @import("theater");

pub fn handleWebsocket(_: theater.Connection, event: theater.Event) !theater.Reply {
    return switch (event) {
        .received => |message| switch (message) {
            .text => |text| theater.text(text),
            .binary => |bytes| theater.reply(.{ .binary = bytes }),
            else => theater.nothing,
        },
        else => theater.nothing,
    };
}
