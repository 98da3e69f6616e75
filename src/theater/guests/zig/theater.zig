//! Actors for Theater in Zig, by the contract theater:websocket@0.2.0.
//!
//! An actor is a file with a function for what it handles:
//!
//!     pub fn init() !void
//!     pub fn upgradeConnection(request: theater.UpgradeRequest) !?theater.Decision
//!     pub fn handleWebsocket(connection: theater.Connection, event: theater.Event) !theater.Reply
//!     pub fn handleBatch(batch: []const theater.BatchItem) !void
//!     pub fn handleChunk(connection: theater.Connection, chunk: theater.Data, last: bool) !theater.Reply
//!     pub fn handleRequest(request: theater.Request) !theater.Response
//!     pub fn handleMessage(message: theater.Data, sender: theater.Address) !?theater.Data
//!
//! All may be left out. What an argument, a function here or `allocator` gives lasts until the call has
//! returned; what is to last longer goes into the state, or into memory of `permanent`. An error that a
//! handler returns undoes its turn.
//!
//! Times are in seconds. Attachments and state are one value in JSON.

const std = @import("std");
const abi = @import("abi.zig");
const actor = @import("actor");

/// Memory for one call.
pub const allocator = abi.allocator;

/// Memory that lasts as long as the instance.
pub const permanent = std.heap.wasm_allocator;

// What crosses the boundary, in the order of the WIT file, which says what each of them means

pub const Message = union(enum) {
    text: []const u8,
    binary: []const u8,
    ping: []const u8,
    pong: []const u8,
    close: Close,
};

pub const Close = struct { code: u16 = 1000, reason: []const u8 = "" };

pub const Incoming = union(enum) {
    text: []const u8,
    binary: []const u8,
    ping: []const u8,
    pong: []const u8,
};

pub const Data = union(enum) { text: []const u8, binary: []const u8 };

pub const Event = union(enum) {
    connected,
    received: Incoming,
    @"error": []const u8,
    congested: u64,
    drained,
    closed: Closed,
};

pub const Closed = struct { code: u16, reason: []const u8 };

/// A header field or a parameter of a path.
pub const Field = struct { name: []const u8, value: []const u8 };

pub const Peer = struct { address: []const u8, port: u16 };

pub const Request = struct {
    method: []const u8,
    path: []const u8,
    parameters: []const Field,
    query: []const u8,
    headers: []const Field,
    body: []const u8,
    peer: ?Peer,
};

pub const UpgradeRequest = struct {
    path: []const u8,
    parameters: []const Field,
    query: []const u8,
    headers: []const Field,
    subprotocols: []const []const u8,
    peer: ?Peer,
};

pub const Response = struct {
    status: u16 = 200,
    headers: []const Field = &.{},
    body: []const u8 = "",
};

pub const Accept = struct {
    subprotocol: ?[]const u8 = null,
    headers: []const Field = &.{},
    tags: []const []const u8 = &.{},
    attachment: ?[]const u8 = null,
};

pub const Decision = union(enum) { accept: Accept, response: Response };

/// The facts of a connection.
pub const ConnectionInfo = struct {
    connection: Connection,
    path: []const u8,
    parameters: []const Field,
    query: []const u8,
    headers: []const Field,
    subprotocol: ?[]const u8,
    peer: ?Peer,
};

pub const Address = struct { type: []const u8, key: []const u8 = "" };

pub const Level = enum { debug, info, warning, @"error" };

pub const BatchItem = struct { connection: Connection, event: Event };

/// The messages that a handler returns.
pub const Reply = []const Message;

/// No message.
pub const nothing: Reply = &.{};

/// One message.
pub fn reply(message: Message) Reply {
    const messages = allocator.alloc(Message, 1) catch @trap();
    messages[0] = message;
    return messages;
}

/// One text message.
pub fn text(characters: []const u8) Reply {
    return reply(.{ .text = characters });
}

/// The value of the first field with this name; names of header fields are in lower case.
pub fn find(fields: []const Field, name: []const u8) ?[]const u8 {
    for (fields) |field| if (std.mem.eql(u8, field.name, name)) return field.value;
    return null;
}

// Errors

/// What the host, or the actor, said last about an error.
pub var words: []const u8 = "";

pub const Refused = error{Refused};

/// An error for a handler to return, with a sentence for the log.
pub fn refuse(comptime format: []const u8, values: anytype) Refused {
    words = std.fmt.allocPrint(allocator, format, values) catch format;
    return error.Refused;
}

pub const ActorError = error{
    InvalidAddress,
    NoSuchActor,
    MailboxFull,
    ActorFailed,
    RequestTimeout,
    Refused,
};

const ActorProblem = union(enum) {
    invalid_address,
    no_such_actor,
    mailbox_full,
    actor_failed,
    request_timeout,
    local_error: []const u8,

    fn raise(problem: ActorProblem) ActorError {
        switch (problem) {
            .invalid_address => return error.InvalidAddress,
            .no_such_actor => return error.NoSuchActor,
            .mailbox_full => return error.MailboxFull,
            .actor_failed => return error.ActorFailed,
            .request_timeout => return error.RequestTimeout,
            .local_error => |said| {
                words = said;
                return error.Refused;
            },
        }
    }
};

fn Result(comptime Ok: type, comptime Err: type) type {
    return union(enum) { ok: Ok, err: Err };
}

/// Room for what the host returns through memory.
fn Returned(comptime T: type) type {
    return struct {
        bytes: [abi.size(T)]u8 align(8) = undefined,

        fn place(room: *@This()) usize {
            return @intFromPtr(&room.bytes);
        }

        fn value(room: *@This()) T {
            return abi.load(T, room.place());
        }
    };
}

const Done = Result(void, []const u8);

fn check(room: *Returned(Done)) Refused!void {
    switch (room.value()) {
        .ok => {},
        .err => |said| {
            words = said;
            return error.Refused;
        },
    }
}

// What an actor can do

/// How a message is sent. Where the host keeps the latest for clients that read slowly, a message takes the
/// place of a waiting one with the same key. Not compressed should be what has a secret in it beside text of
/// somebody else.
pub const Options = struct { key: ?[]const u8 = null, compress: bool = true };

/// One of this actor's connections; after its end nothing happens to it any more.
pub const Connection = struct {
    id: u64,

    /// Sends a message when the turn has succeeded.
    pub fn send(connection: Connection, message: Message, options: Options) Refused!void {
        var room: Returned(Done) = .{};
        const m = flatMessage(message);
        const key = flatOptional(options.key);
        // zig fmt: off
        host.@"send-message"(
            connection.id, m[0], m[1], m[2], m[3], key[0], key[1], key[2], options.compress, room.place(),
        );
        // zig fmt: on
        return check(&room);
    }

    /// Sends a message at once, and waits while the client does not keep up, if that is the host's policy.
    pub fn sendNow(connection: Connection, message: Message, options: Options) Refused!void {
        var room: Returned(Done) = .{};
        const m = flatMessage(message);
        const key = flatOptional(options.key);
        // zig fmt: off
        host.@"send-now"(
            connection.id, m[0], m[1], m[2], m[3], key[0], key[1], key[2], options.compress, room.place(),
        );
        // zig fmt: on
        return check(&room);
    }

    /// Sends a piece of a message at once, and waits while the client does not keep up.
    pub fn sendChunk(connection: Connection, chunk: Data, last: bool) Refused!void {
        var room: Returned(Done) = .{};
        const d = flatData(chunk);
        host.@"send-chunk"(connection.id, d[0], d[1], d[2], last, room.place());
        return check(&room);
    }

    /// Waits until nothing waits in the host for the client.
    pub fn drained(connection: Connection) void {
        host.drained(connection.id);
    }

    /// Bytes that wait in the host for the client.
    pub fn waiting(connection: Connection) u64 {
        return host.@"get-waiting"(connection.id);
    }

    /// Begins the closing handshake when the turn has succeeded.
    pub fn close(connection: Connection, code: u16, reason: []const u8) Refused!void {
        var room: Returned(Done) = .{};
        host.@"close-connection"(connection.id, code, at(reason), reason.len, room.place());
        return check(&room);
    }

    /// Labels to find connections by.
    pub fn tags(connection: Connection) []const []const u8 {
        var room: Returned([]const []const u8) = .{};
        host.@"get-tags"(connection.id, room.place());
        return room.value();
    }

    /// Replaces all tags.
    pub fn setTags(connection: Connection, labels: []const []const u8) Refused!void {
        var room: Returned(Done) = .{};
        host.@"set-tags"(connection.id, abi.lower([]const u8, labels), labels.len, room.place());
        return check(&room);
    }

    /// What was kept with the connection, in JSON.
    pub fn attachment(connection: Connection) ?[]const u8 {
        var room: Returned(?[]const u8) = .{};
        host.@"get-attachment"(connection.id, room.place());
        return room.value();
    }

    /// Keeps a value in JSON with the connection.
    pub fn setAttachment(connection: Connection, json: ?[]const u8) Refused!void {
        var room: Returned(Done) = .{};
        const value = flatOptional(json);
        host.@"set-attachment"(connection.id, value[0], value[1], value[2], room.place());
        return check(&room);
    }

    /// Its facts; none if it has ended.
    pub fn info(connection: Connection) ?ConnectionInfo {
        var room: Returned(?ConnectionInfo) = .{};
        host.@"find-connection"(connection.id, room.place());
        return room.value();
    }
};

/// All of this actor's connections.
pub fn connections() []const Connection {
    var room: Returned([]const Connection) = .{};
    host.@"get-connections"(room.place());
    return room.value();
}

/// Whom a broadcast goes to: all connections but some, or those of them that have a tag.
pub const Audience = struct {
    exclude: []const Connection = &.{},
    tag: ?[]const u8 = null,
    key: ?[]const u8 = null,
    compress: bool = true,
};

/// Sends a message to all of this actor's connections when the turn has succeeded.
pub fn broadcast(message: Message, audience: Audience) Refused!void {
    var room: Returned(Done) = .{};
    const m = flatMessage(message);
    const tag = flatOptional(audience.tag);
    const key = flatOptional(audience.key);
    const exclude = abi.lower(Connection, audience.exclude);
    // zig fmt: off
    host.broadcast(
        m[0], m[1], m[2], m[3], exclude, audience.exclude.len,
        tag[0], tag[1], tag[2], key[0], key[1], key[2], audience.compress, room.place(),
    );
    // zig fmt: on
    return check(&room);
}

/// Where this actor is found.
pub fn address() Address {
    var room: Returned(Address) = .{};
    host.@"get-address"(room.place());
    return room.value();
}

/// Sends a message to another actor when the turn has succeeded.
pub fn send(to: Address, message: Data) ActorError!void {
    var room: Returned(Result(void, ActorProblem)) = .{};
    const d = flatData(message);
    host.send(at(to.type), to.type.len, at(to.key), to.key.len, d[0], d[1], d[2], room.place());
    switch (room.value()) {
        .ok => {},
        .err => |problem| return problem.raise(),
    }
}

/// Sends a message to another actor at once, and waits for what its handler returns.
pub fn request(to: Address, message: Data, timeout: ?f64) ActorError!?Data {
    var room: Returned(Result(?Data, ActorProblem)) = .{};
    const d = flatData(message);
    // zig fmt: off
    host.request(
        at(to.type), to.type.len, at(to.key), to.key.len, d[0], d[1], d[2],
        timeout != null, timeout orelse 0, room.place(),
    );
    // zig fmt: on
    switch (room.value()) {
        .ok => |answer| return answer,
        .err => |problem| return problem.raise(),
    }
}

/// What was kept, in JSON.
pub fn state() ?[]const u8 {
    var room: Returned(?[]const u8) = .{};
    host.@"get-state"(room.place());
    return room.value();
}

/// Keeps a value in JSON with the actor, so that it outlives the instance.
pub fn setState(json: ?[]const u8) Refused!void {
    var room: Returned(Done) = .{};
    const value = flatOptional(json);
    host.@"set-state"(value[0], value[1], value[2], room.place());
    return check(&room);
}

/// Writes a line to the log.
pub fn log(level: Level, comptime format: []const u8, values: anytype) void {
    const line = std.fmt.allocPrint(allocator, format, values) catch format;
    host.log(@backingInt(level), at(line), line.len);
}

/// Seconds since 1970-01-01, UTC.
pub fn now() f64 {
    return host.now();
}

/// Seconds since some fixed moment.
pub fn monotonic() f64 {
    return host.monotonic();
}

/// Random bytes, at most 65,536.
pub fn random(count: u32) []const u8 {
    var room: Returned([]const u8) = .{};
    host.random(count, room.place());
    return room.value();
}

// The host's functions, flattened as the canonical ABI says

const Word = u32;

fn at(bytes: []const u8) usize {
    return abi.lower(u8, bytes);
}

fn flatMessage(message: Message) [4]Word {
    return switch (message) {
        .close => |close| .{ 4, close.code, at(close.reason), close.reason.len },
        inline else => |bytes, case| .{ @backingInt(case), at(bytes), bytes.len, 0 },
    };
}

fn flatData(data: Data) [3]Word {
    return switch (data) {
        inline else => |bytes, case| .{ @backingInt(case), at(bytes), bytes.len },
    };
}

fn flatOptional(bytes: ?[]const u8) [3]Word {
    return if (bytes) |some| .{ 1, at(some), some.len } else .{ 0, 0, 0 };
}

// zig fmt: off
const host = struct {
    extern "theater:websocket/websocket@0.2.0" fn @"send-message"(
        u64, Word, Word, Word, Word, Word, Word, Word, bool, usize,
    ) void;
    extern "theater:websocket/websocket@0.2.0" fn @"send-now"(
        u64, Word, Word, Word, Word, Word, Word, Word, bool, usize,
    ) void;
    extern "theater:websocket/websocket@0.2.0" fn @"send-chunk"(u64, Word, Word, Word, bool, usize) void;
    extern "theater:websocket/websocket@0.2.0" fn drained(u64) void;
    extern "theater:websocket/websocket@0.2.0" fn @"get-waiting"(u64) u64;
    extern "theater:websocket/websocket@0.2.0" fn @"close-connection"(u64, u16, Word, Word, usize) void;
    extern "theater:websocket/websocket@0.2.0" fn @"get-tags"(u64, usize) void;
    extern "theater:websocket/websocket@0.2.0" fn @"set-tags"(u64, Word, Word, usize) void;
    extern "theater:websocket/websocket@0.2.0" fn @"get-attachment"(u64, usize) void;
    extern "theater:websocket/websocket@0.2.0" fn @"set-attachment"(u64, Word, Word, Word, usize) void;
    extern "theater:websocket/websocket@0.2.0" fn @"get-connections"(usize) void;
    extern "theater:websocket/websocket@0.2.0" fn @"find-connection"(u64, usize) void;
    extern "theater:websocket/websocket@0.2.0" fn broadcast(
        Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, bool, usize,
    ) void;
    extern "theater:websocket/actors@0.2.0" fn @"get-address"(usize) void;
    extern "theater:websocket/actors@0.2.0" fn send(
        Word, Word, Word, Word, Word, Word, Word, usize,
    ) void;
    extern "theater:websocket/actors@0.2.0" fn request(
        Word, Word, Word, Word, Word, Word, Word, bool, f64, usize,
    ) void;
    extern "theater:websocket/state@0.2.0" fn @"get-state"(usize) void;
    extern "theater:websocket/state@0.2.0" fn @"set-state"(Word, Word, Word, usize) void;
    extern "theater:websocket/host@0.2.0" fn log(Word, Word, Word) void;
    extern "theater:websocket/host@0.2.0" fn now() f64;
    extern "theater:websocket/host@0.2.0" fn monotonic() f64;
    extern "theater:websocket/host@0.2.0" fn random(u32, usize) void;
};

// What the host calls: the handlers that the actor's file has

comptime {
    var found = false;
    for (.{
        .{ "init", "lifecycle@0.2.0#init" },
        .{ "upgradeConnection", "websocket-upgrade@0.2.0#upgrade-connection" },
        .{ "handleWebsocket", "websocket-actor@0.2.0#handle-websocket" },
        .{ "handleBatch", "batch-actor@0.2.0#handle-batch" },
        .{ "handleChunk", "stream-actor@0.2.0#handle-chunk" },
        .{ "handleRequest", "http-actor@0.2.0#handle-request" },
        .{ "handleMessage", "message-actor@0.2.0#handle-message" },
    }) |each| {
        const handler, const name = each;
        if (@hasDecl(actor, handler)) {
            found = true;
            @export(&@field(exports, handler), .{ .name = "theater:websocket/" ++ name });
            @export(&cleanUp, .{ .name = "cabi_post_theater:websocket/" ++ name });
        }
    }
    if (!found) @compileError("the actor handles nothing: it has no handler, or none that is `pub`");
}

fn cleanUp(_: usize) callconv(.c) void {
    words = "";
    abi.reset();
}

/// Where the host finds what a handler returned.
fn result(comptime Ok: type, outcome: anyerror!Ok) usize {
    const T = Result(Ok, []const u8);
    const place = abi.allocate(abi.size(T), 8);
    abi.store(T, place, if (outcome) |ok|
        .{ .ok = ok }
    else |problem|
        .{ .err = if (problem == error.Refused) words else @errorName(problem) });
    return place;
}

fn peerOf(known: Word, start: usize, length: usize, port: u32) ?Peer {
    return if (known == 0) null else .{ .address = abi.list(u8, start, length), .port = @intCast(port) };
}

fn dataOf(case: Word, start: usize, length: usize) Data {
    const bytes = abi.list(u8, start, length);
    return if (case == 0) .{ .text = bytes } else .{ .binary = bytes };
}

/// The payload's three slots are shared by the cases; the first holds a number of 64 bits.
fn eventOf(case: Word, first: u64, second: usize, third: usize) Event {
    const low: usize = @truncate(first);
    switch (case) {
        0 => return .connected,
        1 => {
            const bytes = abi.list(u8, second, third);
            return .{ .received = switch (low) {
                0 => .{ .text = bytes },
                1 => .{ .binary = bytes },
                2 => .{ .ping = bytes },
                else => .{ .pong = bytes },
            } };
        },
        2 => return .{ .@"error" = abi.list(u8, low, second) },
        3 => return .{ .congested = first },
        4 => return .drained,
        else => return .{ .closed = .{ .code = @truncate(low), .reason = abi.list(u8, second, third) } },
    }
}

const exports = struct {
    fn init() callconv(.c) usize {
        return result(void, actor.init());
    }

    fn upgradeConnection(
        path: usize, path_length: usize, parameters: usize, parameters_count: usize,
        query: usize, query_length: usize, headers: usize, headers_count: usize,
        subprotocols: usize, subprotocols_count: usize,
        peer: Word, peer_address: usize, peer_length: usize, port: u32,
    ) callconv(.c) usize {
        return result(?Decision, actor.upgradeConnection(UpgradeRequest{
            .path = abi.list(u8, path, path_length),
            .parameters = abi.list(Field, parameters, parameters_count),
            .query = abi.list(u8, query, query_length),
            .headers = abi.list(Field, headers, headers_count),
            .subprotocols = abi.list([]const u8, subprotocols, subprotocols_count),
            .peer = peerOf(peer, peer_address, peer_length, port),
        }));
    }

    fn handleWebsocket(id: u64, case: Word, first: u64, second: usize, third: usize) callconv(.c) usize {
        const event = eventOf(case, first, second, third);
        return result(Reply, actor.handleWebsocket(Connection{ .id = id }, event));
    }

    fn handleBatch(batch: usize, count: usize) callconv(.c) usize {
        return result(void, actor.handleBatch(abi.list(BatchItem, batch, count)));
    }

    fn handleChunk(id: u64, case: Word, start: usize, length: usize, last: u32) callconv(.c) usize {
        const chunk = dataOf(case, start, length);
        return result(Reply, actor.handleChunk(Connection{ .id = id }, chunk, last != 0));
    }

    fn handleRequest(
        method: usize, method_length: usize, path: usize, path_length: usize,
        parameters: usize, parameters_count: usize, query: usize, query_length: usize,
        headers: usize, headers_count: usize, body: usize, body_length: usize,
        peer: Word, peer_address: usize, peer_length: usize, port: u32,
    ) callconv(.c) usize {
        return result(Response, actor.handleRequest(Request{
            .method = abi.list(u8, method, method_length),
            .path = abi.list(u8, path, path_length),
            .parameters = abi.list(Field, parameters, parameters_count),
            .query = abi.list(u8, query, query_length),
            .headers = abi.list(Field, headers, headers_count),
            .body = abi.list(u8, body, body_length),
            .peer = peerOf(peer, peer_address, peer_length, port),
        }));
    }

    fn handleMessage(
        case: Word, start: usize, length: usize,
        kind: usize, kind_length: usize, key: usize, key_length: usize,
    ) callconv(.c) usize {
        return result(?Data, actor.handleMessage(dataOf(case, start, length), Address{
            .type = abi.list(u8, kind, kind_length),
            .key = abi.list(u8, key, key_length),
        }));
    }
};
// zig fmt: on

/// What happens at `@panic`: its words stand in the log, and the instance traps.
pub const panic = std.debug.FullPanic(struct {
    fn call(message: []const u8, _: ?usize) noreturn {
        host.log(@backingInt(Level.@"error"), at(message), message.len);
        @trap();
    }
}.call);
