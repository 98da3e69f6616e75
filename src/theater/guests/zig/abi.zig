//! Values in memory as the component model's canonical ABI lays them out, by Zig's types:
//! structs are records or tuples, tagged unions variants, `[]const u8` strings or `list<u8>`.
//! <https://github.com/WebAssembly/component-model/blob/main/design/mvp/CanonicalABI.md>

const std = @import("std");

var arena = std.heap.ArenaAllocator.init(std.heap.wasm_allocator);

/// Memory that lasts until the host has read the result of the call.
pub const allocator = arena.allocator();

/// Ends the life of all that `allocator` has given.
pub fn reset() void {
    _ = arena.reset(.{ .retain_with_limit = 64 * 1024 });
}

/// Memory for a value whose size is known at run time only; traps if there is none.
pub fn allocate(length: usize, comptime alignment_: usize) usize {
    const memory = allocator.rawAlloc(length, .fromByteUnits(alignment_), @returnAddress());
    return @intFromPtr(memory orelse @trap());
}

/// For the host: memory to put values in.
export fn cabi_realloc(old: usize, old_length: usize, alignment_: usize, length: usize) usize {
    if (length == 0) return alignment_;
    const memory = allocator.rawAlloc(length, .fromByteUnits(alignment_), @returnAddress()) orelse @trap();
    const kept = @min(old_length, length);
    if (kept > 0) @memcpy(memory[0..kept], @as([*]const u8, @ptrFromInt(old))[0..kept]);
    return @intFromPtr(memory);
}

/// Bytes that a value takes in memory.
pub fn size(comptime T: type) usize {
    switch (@typeInfo(T)) {
        .void => return 0,
        .bool => return 1,
        .int, .float => return @sizeOf(T),
        .pointer => return 8,
        .@"struct" => |info| {
            var end: usize = 0;
            inline for (info.field_types) |F| end = up(end, alignment(F)) + size(F);
            return up(end, alignment(T));
        },
        .optional => |info| return up(payload(T) + size(info.child), alignment(T)),
        .@"union" => |info| {
            var room: usize = 0;
            inline for (info.field_types) |F| room = @max(room, size(F));
            return up(payload(T) + room, alignment(T));
        },
        else => @compileError("no type of the contract: " ++ @typeName(T)),
    }
}

/// What its address is a multiple of.
pub fn alignment(comptime T: type) usize {
    switch (@typeInfo(T)) {
        .void, .bool => return 1,
        .int, .float => return @sizeOf(T),
        .pointer => return 4,
        .optional => |info| return alignment(info.child),
        inline .@"struct", .@"union" => |info| {
            var most: usize = 1;
            inline for (info.field_types) |F| most = @max(most, alignment(F));
            return most;
        },
        else => @compileError("no type of the contract: " ++ @typeName(T)),
    }
}

/// Where in a variant the payload begins: behind the number of the case, which is one byte.
fn payload(comptime T: type) usize {
    return alignment(T);
}

fn up(end: usize, to: usize) usize {
    return (end + to - 1) / to * to;
}

fn word(at: usize) usize {
    return @as(*const usize, @ptrFromInt(at)).*;
}

/// Reads a value. Bytes are not copied; lists of anything else are put into the arena.
pub fn load(comptime T: type, at: usize) T {
    switch (@typeInfo(T)) {
        .void => return {},
        .bool => return @as(*const u8, @ptrFromInt(at)).* != 0,
        .int, .float => return @as(*const T, @ptrFromInt(at)).*,
        .pointer => |info| return list(info.child, word(at), word(at + 4)),
        .optional => |info| return if (load(bool, at)) load(info.child, at + payload(T)) else null,
        .@"struct" => |info| {
            var value: T = undefined;
            comptime var end: usize = 0;
            inline for (info.field_names, info.field_types) |name, F| {
                end = comptime up(end, alignment(F));
                @field(value, name) = load(F, at + end);
                end += comptime size(F);
            }
            return value;
        },
        .@"union" => |info| {
            const case = load(u8, at);
            inline for (info.field_names, info.field_types, 0..) |name, F, number| {
                if (case == number) return @unionInit(T, name, load(F, at + payload(T)));
            }
            unreachable;
        },
        else => comptime unreachable,
    }
}

/// A list, given its address and the number of its items.
pub fn list(comptime T: type, at: usize, count: usize) []const T {
    if (count == 0) return &.{};
    if (T == u8) return @as([*]const u8, @ptrFromInt(at))[0..count];
    const items = allocator.alloc(T, count) catch @trap();
    for (items, 0..) |*item, place| item.* = load(T, at + place * size(T));
    return items;
}

/// Writes a value. Bytes are not copied; lists of anything else are put into the arena.
pub fn store(comptime T: type, at: usize, value: T) void {
    switch (@typeInfo(T)) {
        .void => {},
        .bool => store(u8, at, @intFromBool(value)),
        .int, .float => @as(*T, @ptrFromInt(at)).* = value,
        .pointer => |info| {
            store(usize, at, lower(info.child, value));
            store(usize, at + 4, value.len);
        },
        .optional => |info| {
            store(bool, at, value != null);
            if (value) |inside| store(info.child, at + payload(T), inside);
        },
        .@"struct" => |info| {
            comptime var end: usize = 0;
            inline for (info.field_names, info.field_types) |name, F| {
                end = comptime up(end, alignment(F));
                store(F, at + end, @field(value, name));
                end += comptime size(F);
            }
        },
        .@"union" => |info| {
            inline for (info.field_names, info.field_types, 0..) |name, F, number| {
                if (value == @field(std.meta.Tag(T), name)) {
                    store(u8, at, number);
                    store(F, at + payload(T), @field(value, name));
                }
            }
        },
        else => comptime unreachable,
    }
}

/// The address of a list; that of an empty one may be anything in Zig, but not for the host.
pub fn lower(comptime T: type, items: []const T) usize {
    if (items.len == 0) return alignment(T);
    if (T == u8) return @intFromPtr(items.ptr);
    const at = allocate(items.len * size(T), alignment(T));
    for (items, 0..) |item, place| store(T, at + place * size(T), item);
    return at;
}
