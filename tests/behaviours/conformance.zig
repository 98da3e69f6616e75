//! See conformance.py.

const std = @import("std");
const theater = @import("theater");

const Address = theater.Address;
const Connection = theater.Connection;
const Reply = theater.Reply;
const equal = std.mem.eql;

const sha_of_example = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const piece = 1000;

/// What happened, a line for each.
var happened: std.ArrayList(u8) = .empty;

/// Streamed messages, by connection.
var arriving: std.AutoHashMapUnmanaged(u64, Arriving) = .empty;

const Arriving = struct { size: u64 = 0, total: u64 = 0, ended: bool = false };

fn format(comptime text: []const u8, values: anytype) []const u8 {
    return std.fmt.allocPrint(theater.allocator, text, values) catch @trap();
}

fn remember(comptime text: []const u8, values: anytype) !void {
    if (happened.items.len > 0) try happened.append(theater.permanent, '\n');
    try happened.appendSlice(theater.permanent, format(text, values));
}

/// The text before the first space, and what is behind it.
fn parted(text: []const u8) [2][]const u8 {
    const space = std.mem.indexOfScalar(u8, text, ' ') orelse return .{ text, "" };
    return .{ text[0..space], text[space + 1 ..] };
}

fn named(address: Address) []const u8 {
    return if (address.key.len > 0) format("{s}/{s}", .{ address.type, address.key }) else address.type;
}

fn parsed(text: []const u8) Address {
    const slash = std.mem.indexOfScalar(u8, text, '/') orelse return .{ .type = text };
    return .{ .type = text[0..slash], .key = text[slash + 1 ..] };
}

fn sorted(tags: []const []const u8) ![]const u8 {
    const copy = try theater.allocator.dupe([]const u8, tags);
    std.mem.sort([]const u8, copy, {}, struct {
        fn less(_: void, one: []const u8, other: []const u8) bool {
            return std.mem.lessThan(u8, one, other);
        }
    }.less);
    return std.mem.join(theater.allocator, ",", copy);
}

fn messages(all: []const theater.Message) !Reply {
    return theater.allocator.dupe(theater.Message, all);
}

fn ones(count: []const u8) ![]const u8 {
    const bytes = try theater.allocator.alloc(u8, try std.fmt.parseInt(usize, count, 10));
    @memset(bytes, 1);
    return bytes;
}

/// JSON; what is to be kept as null is nothing.
fn kept(json: []const u8) ?[]const u8 {
    return if (equal(u8, json, "null")) null else json;
}

pub fn init() !void {
    if (equal(u8, theater.address().key, "broken")) return theater.refuse("init as told", .{});
}

pub fn upgradeConnection(request: theater.UpgradeRequest) !?theater.Decision {
    if (equal(u8, request.query, "accept")) {
        const headers = try theater.allocator.dupe(theater.Field, &.{
            .{ .name = "x-seen", .value = theater.find(request.headers, "x-test").? },
        });
        return .{ .accept = .{
            .subprotocol = request.subprotocols[request.subprotocols.len - 1],
            .headers = headers,
            .tags = &.{ "one", "two" },
            .attachment = "{\"from\":\"upgrade\"}",
        } };
    }
    if (equal(u8, request.query, "unasked")) return .{ .accept = .{ .subprotocol = "unasked" } };
    if (equal(u8, request.query, "refuse")) return .{ .response = .{
        .status = 409,
        .headers = &.{ .{ .name = "x-why", .value = "one" }, .{ .name = "x-why", .value = "two" } },
        .body = "taken \x00\xff",
    } };
    if (equal(u8, request.query, "none")) return null;
    if (equal(u8, request.query, "fail")) return theater.refuse("upgrade as told", .{});
    return .{ .accept = .{} };
}

pub fn handleWebsocket(connection: Connection, event: theater.Event) !Reply {
    switch (event) {
        .received => |message| switch (message) {
            .text => |text| return if (text.len == 0) theater.text("") else obey(connection, text),
            .binary => |bytes| return theater.reply(.{ .binary = bytes }),
            else => {},
        },
        else => {},
    }
    try note(connection, event);
    return theater.nothing;
}

fn note(connection: Connection, event: theater.Event) !void {
    switch (event) {
        .connected => try remember("connected", .{}),
        .drained => try remember("drained", .{}),
        .congested => |waiting| try remember("{s}", .{if (waiting > 0) "congested" else "congested by nothing"}),
        .@"error" => |problem| try remember("error {s}", .{problem}),
        .received => |message| switch (message) {
            .ping => |payload| try remember("ping {x}", .{payload}),
            .pong => |payload| try remember("pong {x}", .{payload}),
            else => {},
        },
        .closed => |closed| {
            _ = arriving.remove(connection.id);
            try remember("closed {d} {s}", .{ closed.code, closed.reason });
            var state: []const u8 = "not open";
            for (theater.connections()) |each| if (each.id == connection.id) {
                state = "open";
            };
            const tags = try sorted(connection.tags());
            const attachment = connection.attachment() orelse "null";
            try remember("left {s} {s} {s} {s}", .{ connection.info().?.path, state, tags, attachment });
        },
    }
}

pub fn handleChunk(connection: Connection, chunk: theater.Data, last: bool) !Reply {
    const begun = try arriving.getOrPutValue(theater.permanent, connection.id, .{});
    const message = begun.value_ptr;
    const bytes = switch (chunk) {
        inline else => |bytes| bytes,
    };
    const first = message.size == 0;
    message.size += bytes.len;
    for (bytes) |byte| message.total += byte;
    var answer = theater.nothing;
    if (first and std.mem.startsWith(u8, bytes, "fail")) {
        _ = arriving.remove(connection.id);
        return theater.refuse("stream as told", .{});
    }
    if (first and std.mem.startsWith(u8, bytes, "early")) {
        message.ended = true;
        answer = theater.text("enough");
    }
    if (last) {
        if (!message.ended) answer = theater.text(format("{s} {d} {d}", .{ @tagName(chunk), message.size, message.total }));
        _ = arriving.remove(connection.id);
    }
    return answer;
}

pub fn handleBatch(batch: []const theater.BatchItem) !void {
    for (batch) |item| {
        const text = switch (item.event) {
            .received => |message| switch (message) {
                .text => |text| text,
                else => null,
            },
            else => null,
        };
        if (text == null) {
            try note(item.connection, item.event);
        } else if (equal(u8, text.?, "fail")) {
            return theater.refuse("batch as told", .{});
        } else {
            try item.connection.send(.{ .text = format("{d} {s}", .{ batch.len, text.? }) }, .{});
        }
    }
}

pub fn handleRequest(request: theater.Request) !theater.Response {
    if (equal(u8, request.query, "status")) return .{
        .status = 418,
        .headers = &.{ .{ .name = "x-one", .value = "1" }, .{ .name = "x-one", .value = "2" } },
        .body = "teapot \x00\xff",
    };
    if (equal(u8, request.query, "missing")) return .{ .status = 404, .body = "no such page" };
    if (equal(u8, request.query, "fail")) return theater.refuse("request as told", .{});
    if (equal(u8, request.query, "wrong")) return .{ .status = 99 };
    if (equal(u8, request.query, "by-hand")) return .{ .status = 101, .headers = &.{
        .{ .name = "upgrade", .value = "websocket" },
        .{ .name = "connection", .value = "Upgrade" },
        .{ .name = "sec-websocket-accept", .value = sha_of_example },
    } };
    const headers = try theater.allocator.dupe(theater.Field, &.{
        .{ .name = "x-method", .value = request.method },
    });
    return .{ .headers = headers, .body = format("{s} {s} {s} {s} {s} {s}\n{s}", .{
        request.method,
        request.path,
        theater.find(request.parameters, "name").?,
        request.query,
        theater.find(request.headers, "x-test").?,
        if (request.peer) |peer| peer.address else "nobody",
        request.body,
    }) };
}

pub fn handleMessage(message: theater.Data, sender: Address) !?theater.Data {
    switch (message) {
        .binary => return message,
        .text => |text| {
            if (equal(u8, text, "fail")) return theater.refuse("message as told", .{});
            if (equal(u8, text, "nothing")) return null;
            if (equal(u8, text, "note")) {
                try remember("note from {s}", .{named(sender)});
                return null;
            }
            return .{ .text = format("{s} heard {s} from {s}", .{ named(theater.address()), text, named(sender) }) };
        },
    }
}

fn obey(connection: Connection, command: []const u8) anyerror!Reply {
    const name, const rest = parted(command);
    inline for (comptime std.meta.declarations(commands)) |each| {
        if (equal(u8, name, each)) return @field(commands, each)(connection, rest);
    }
    return theater.refuse("no command {s}", .{name});
}

const commands = struct {
    pub fn attempt(connection: Connection, rest: []const u8) !Reply {
        return obey(connection, rest) catch |problem| {
            const said = if (problem == error.Refused) theater.words else @errorName(problem);
            return theater.text(format("refused: {s}", .{said}));
        };
    }

    pub fn echo(_: Connection, rest: []const u8) !Reply {
        return theater.text(rest);
    }

    pub fn events(_: Connection, _: []const u8) !Reply {
        const told = try theater.allocator.dupe(u8, happened.items);
        happened.clearRetainingCapacity();
        return theater.text(told);
    }

    pub fn several(_: Connection, _: []const u8) !Reply {
        return messages(&.{ .{ .text = "one" }, .{ .binary = "\x02" }, .{ .text = "three" } });
    }

    pub fn nothing(_: Connection, _: []const u8) !Reply {
        return theater.nothing;
    }

    pub fn order(connection: Connection, _: []const u8) !Reply {
        try connection.send(.{ .text = "sent first" }, .{});
        try theater.broadcast(.{ .text = "to all" }, .{});
        try connection.send(.{ .text = "sent last" }, .{});
        return messages(&.{ .{ .text = "returned first" }, .{ .text = "returned last" } });
    }

    pub fn @"at-once"(connection: Connection, _: []const u8) !Reply {
        try connection.send(.{ .text = "sent" }, .{});
        try connection.sendNow(.{ .text = "at once" }, .{});
        return theater.text("returned");
    }

    pub fn close(connection: Connection, rest: []const u8) !Reply {
        const code, const reason = parted(rest);
        try connection.close(try std.fmt.parseInt(u16, code, 10), reason);
        return theater.text("goodbye");
    }

    pub fn @"return-close"(_: Connection, rest: []const u8) !Reply {
        const code, const reason = parted(rest);
        const last: theater.Close = .{ .code = try std.fmt.parseInt(u16, code, 10), .reason = reason };
        return messages(&.{ .{ .text = "goodbye" }, .{ .close = last } });
    }

    pub fn ping(_: Connection, rest: []const u8) !Reply {
        return theater.reply(.{ .ping = try ones(rest) });
    }

    pub fn pong(connection: Connection, rest: []const u8) !Reply {
        try connection.send(.{ .pong = try ones(rest) }, .{});
        return theater.text("sent");
    }

    pub fn broadcast(_: Connection, rest: []const u8) !Reply {
        try theater.broadcast(.{ .text = rest }, .{});
        return theater.nothing;
    }

    pub fn @"tell-others"(connection: Connection, rest: []const u8) !Reply {
        try theater.broadcast(.{ .text = rest }, .{ .exclude = &.{connection} });
        return theater.nothing;
    }

    pub fn @"tell-tagged"(_: Connection, rest: []const u8) !Reply {
        const name, const text = parted(rest);
        try theater.broadcast(.{ .text = text }, .{ .tag = name });
        return theater.nothing;
    }

    pub fn @"tell-one"(_: Connection, rest: []const u8) !Reply {
        const one, const text = parted(rest);
        const other: Connection = .{ .id = try std.fmt.parseInt(u64, one, 10) };
        try other.send(.{ .text = text }, .{});
        return theater.nothing;
    }

    pub fn @"tell-keyed"(connection: Connection, rest: []const u8) !Reply {
        const other: Connection = .{ .id = try std.fmt.parseInt(u64, rest, 10) };
        for (0..3) |number| {
            const all = format("all {d}", .{number});
            try theater.broadcast(.{ .text = all }, .{ .exclude = &.{connection}, .key = "all" });
            try other.send(.{ .text = format("one {d}", .{number}) }, .{ .key = "one" });
        }
        return theater.text("told");
    }

    pub fn id(connection: Connection, _: []const u8) !Reply {
        return theater.text(format("{d}", .{connection.id}));
    }

    pub fn ids(_: Connection, _: []const u8) !Reply {
        var all: []const u8 = "";
        for (theater.connections(), 0..) |each, index| {
            all = format("{s}{s}{d}", .{ all, if (index > 0) "," else "", each.id });
        }
        return theater.text(all);
    }

    pub fn facts(connection: Connection, _: []const u8) !Reply {
        const info = connection.info().?;
        const client = if (info.peer) |peer| format("{s} {d}", .{ peer.address, peer.port }) else "nobody";
        return theater.text(try std.mem.join(theater.allocator, "\n", &.{
            info.path,
            theater.find(info.parameters, "name").?,
            info.query,
            theater.find(info.headers, "x-test").?,
            info.subprotocol orelse "none",
            client,
        }));
    }

    pub fn tags(connection: Connection, _: []const u8) !Reply {
        return theater.text(try sorted(connection.tags()));
    }

    pub fn tag(connection: Connection, rest: []const u8) !Reply {
        var all: std.ArrayList([]const u8) = .empty;
        var each = std.mem.splitScalar(u8, rest, ',');
        if (rest.len > 0) while (each.next()) |one| try all.append(theater.allocator, one);
        try connection.setTags(all.items);
        return theater.nothing;
    }

    pub fn attachment(connection: Connection, _: []const u8) !Reply {
        return theater.text(connection.attachment() orelse "null");
    }

    pub fn attach(connection: Connection, rest: []const u8) !Reply {
        try connection.setAttachment(kept(rest));
        return theater.nothing;
    }

    pub fn state(_: Connection, _: []const u8) !Reply {
        return theater.text(theater.state() orelse "null");
    }

    pub fn keep(_: Connection, rest: []const u8) !Reply {
        try theater.setState(kept(rest));
        return theater.nothing;
    }

    pub fn fail(_: Connection, rest: []const u8) !Reply {
        return theater.refuse("as told: {s}", .{rest});
    }

    pub fn @"change-and-fail"(connection: Connection, _: []const u8) !Reply {
        try connection.setTags(&.{"changed"});
        try connection.setAttachment("\"changed\"");
        try theater.setState("\"changed\"");
        if (!equal(u8, connection.attachment().?, theater.state().?)) {
            return theater.refuse("a change is not seen at once", .{});
        }
        try connection.send(.{ .text = "never sent" }, .{});
        try theater.broadcast(.{ .text = "never sent" }, .{});
        try theater.send(theater.address(), .{ .text = "note" });
        return theater.refuse("as told", .{});
    }

    pub fn spin(_: Connection, _: []const u8) !Reply {
        while (true) asm volatile ("");
    }

    pub fn effects(connection: Connection, rest: []const u8) !Reply {
        for (0..try std.fmt.parseInt(usize, rest, 10)) |_| try connection.send(.{ .text = "effect" }, .{});
        return theater.nothing;
    }

    pub fn flood(_: Connection, rest: []const u8) !Reply {
        const count, const size = parted(rest);
        const bytes = try theater.allocator.alloc(u8, try std.fmt.parseInt(usize, size, 10));
        @memset(bytes, 0);
        const all = try theater.allocator.alloc(theater.Message, try std.fmt.parseInt(usize, count, 10));
        @memset(all, .{ .binary = bytes });
        return all;
    }

    pub fn waiting(connection: Connection, _: []const u8) !Reply {
        return theater.text(format("{d}", .{connection.waiting()}));
    }

    pub fn drained(connection: Connection, _: []const u8) !Reply {
        connection.drained();
        return theater.text("drained");
    }

    pub fn pieces(connection: Connection, rest: []const u8) !Reply {
        try connection.send(.{ .text = "sent meanwhile" }, .{});
        for (0..try std.fmt.parseInt(usize, rest, 10)) |number| {
            var digits: [piece]u8 = @splat('0' + @as(u8, @intCast(number % 10)));
            try connection.sendChunk(.{ .text = &digits }, false);
        }
        try connection.sendChunk(.{ .text = "" }, true);
        return theater.text("done");
    }

    pub fn @"broken-piece"(connection: Connection, _: []const u8) !Reply {
        try connection.sendChunk(.{ .text = "begun" }, false);
        return theater.refuse("as told", .{});
    }

    pub fn ask(_: Connection, rest: []const u8) !Reply {
        const seconds, const asked = parted(rest);
        const whom, const text = parted(asked);
        const timeout = if (equal(u8, seconds, "-")) null else try std.fmt.parseFloat(f64, seconds);
        const message: theater.Data = if (equal(u8, text, "bytes")) .{ .binary = "\x00\xff" } else .{ .text = text };
        const answer = theater.request(parsed(whom), message, timeout) catch |problem| return failed(problem);
        return switch (answer orelse return theater.text("no answer")) {
            .text => |said| theater.text(said),
            .binary => |bytes| theater.reply(.{ .binary = bytes }),
        };
    }

    pub fn post(_: Connection, rest: []const u8) !Reply {
        const whom, const text = parted(rest);
        theater.send(parsed(whom), .{ .text = text }) catch |problem| return failed(problem);
        return theater.text("sent");
    }

    pub fn address(_: Connection, _: []const u8) !Reply {
        const own = theater.address();
        return theater.text(format("{s} {s}", .{ own.type, own.key }));
    }

    pub fn log(_: Connection, rest: []const u8) !Reply {
        const level, const line = parted(rest);
        theater.log(std.meta.stringToEnum(theater.Level, level).?, "{s}", .{line});
        return theater.text("logged");
    }

    pub fn clock(_: Connection, _: []const u8) !Reply {
        return theater.text(format("{d} {d}", .{ theater.now(), theater.monotonic() }));
    }

    pub fn random(_: Connection, rest: []const u8) !Reply {
        return theater.reply(.{ .binary = theater.random(try std.fmt.parseInt(u32, rest, 10)) });
    }
};

/// The name of an error, as the contract has it.
fn failed(problem: theater.ActorError) Reply {
    return theater.text(switch (problem) {
        error.InvalidAddress => "invalid-address",
        error.NoSuchActor => "no-such-actor",
        error.MailboxFull => "mailbox-full",
        error.ActorFailed => "actor-failed",
        error.RequestTimeout => "request-timeout",
        error.Refused => "local-error",
    });
}
