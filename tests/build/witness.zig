//! Uses all that there is; `witness.c` does the same.

const std = @import("std");
const theater = @import("theater");

pub fn init() !void {
    theater.log(.info, "{s}", .{"started"});
}

pub fn upgradeConnection(request: theater.UpgradeRequest) !?theater.Decision {
    const peer = request.peer orelse return null;
    if (request.subprotocols.len == 0)
        return .{ .response = .{ .status = peer.port, .headers = request.parameters, .body = request.path } };
    const tags = try theater.allocator.dupe([]const u8, &.{ request.query, "tag" });
    return .{ .accept = .{
        .subprotocol = request.subprotocols[1],
        .headers = request.headers,
        .tags = tags,
        .attachment = peer.address,
    } };
}

pub fn handleWebsocket(connection: theater.Connection, event: theater.Event) !theater.Reply {
    switch (event) {
        .connected => {
            try connection.setTags(&.{ "red", "blue" });
            try connection.setAttachment("1");
        },
        .received => |message| switch (message) {
            .text => |text| return if (std.mem.eql(u8, text, "all")) all(connection) else theater.text(text),
            .binary => return theater.refuse("no {s}", .{"bytes"}),
            else => {},
        },
        .@"error" => |problem| return theater.text(problem),
        .congested => |bytes| return theater.text(if (bytes == 1 << 40) "much" else "little"),
        .drained => return theater.reply(.{ .close = .{ .code = 1013, .reason = "slow" } }),
        .closed => |closed| return theater.text(if (closed.code == 1001) closed.reason else "other"),
    }
    return theater.nothing;
}

fn all(connection: theater.Connection) !theater.Reply {
    try connection.send(.{ .text = "one" }, .{ .key = "key", .compress = false });
    try connection.sendNow(.{ .close = .{ .code = 1001, .reason = "away" } }, .{});
    try connection.sendChunk(.{ .binary = "piece" }, true);
    connection.drained();
    if (connection.waiting() != 1 << 40) return theater.nothing;
    try connection.close(1000, "done");
    try connection.setTags(connection.tags());
    try connection.setAttachment(connection.attachment());
    const info = connection.info() orelse return theater.nothing;
    try theater.broadcast(.{ .ping = "x" }, .{ .exclude = theater.connections(), .tag = info.path, .key = "" });
    const address = theater.address();
    try theater.send(address, .{ .text = "note" });
    const answer = try theater.request(address, .{ .binary = "ask" }, 1.5) orelse return theater.nothing;
    try theater.setState(theater.state());
    if (theater.now() + theater.monotonic() == 1.5) theater.log(.warning, "{s}", .{theater.random(4)});
    const messages = try theater.allocator.alloc(theater.Message, 2);
    messages[0] = .{ .text = answer.text };
    messages[1] = .{ .pong = info.headers[0].value };
    return messages;
}

pub fn handleBatch(batch: []const theater.BatchItem) !void {
    for (batch) |item| _ = try handleWebsocket(item.connection, item.event);
}

pub fn handleChunk(_: theater.Connection, chunk: theater.Data, last: bool) !theater.Reply {
    return if (last) theater.reply(.{ .binary = chunk.binary }) else theater.text(chunk.text);
}

pub fn handleRequest(request: theater.Request) !theater.Response {
    if (request.peer != null) return error.TooBusy;
    return .{ .status = 201, .headers = request.headers, .body = request.body };
}

pub fn handleMessage(message: theater.Data, sender: theater.Address) !?theater.Data {
    return if (std.mem.eql(u8, sender.key, "quiet")) null else message;
}
