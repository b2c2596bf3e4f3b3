/*
 * Faretra: Arrow batches and n-dimensional arrays in memory that processes share.
 *
 *     #include <faretra.h>                                  cc program.c $(pkg-config --cflags --libs faretra)
 *
 *     faretra_options options = FARETRA_OPTIONS;
 *     faretra_arena *arena;
 *     faretra_writer *writer;
 *     options.limit = 64 << 20;
 *     if (faretra_arena_create("flights", &options, &arena) ||
 *         faretra_writer_new(arena, FARETRA_FOREVER, &writer) ||
 *         faretra_publish(writer, "greeting", faretra_value_bytes("hello", 5), NULL))
 *         fprintf(stderr, "%s\n", faretra_last_error()->message);
 *
 * What holds for all functions:
 *
 * Errors. A function that can fail returns a faretra_code: 0 if it did what it was asked. faretra_last_error has the text.
 *
 * Ownership. A handle that a function gives out through its last parameters is the caller's, until the function that ends in
 * _free (for a lease: _ack, _nack, or a _forward that succeeds) gets it. Handles can be freed in any order. What a function is given (text, memory,
 * Arrow's structures) it uses while it runs, and keeps nothing of it; nothing of Arrow's that goes in is released by the library,
 * and everything of Arrow's that comes out is to be released by the caller, as the C data interface says.
 *
 * Threads. Any handle can be used, and freed, in any thread. Two threads can use one handle at once, but for drafts, subscribers
 * and selects, where the second call fails with FARETRA_INVALID. No thread may use a handle that another one frees.
 *
 * Waiting. A function with a parameter timeout_ms waits at most so many milliseconds; 0: not at all; FARETRA_FOREVER: without an
 * end. What does not come in time is FARETRA_TIMED_OUT. Functions without that parameter do not wait for other processes, except
 * that opening and removing an arena wait up to half a second for a process that is about to end it. Signals end no wait, unless
 * faretra_set_interrupt_hook says so. If the process that a wait depends on dies, the wait goes on, or fails, within 100 ms of the
 * kernel's letting go of that process.
 *
 * Death. A process may be killed at any instruction. What it published stays; what it held (pins, leases, locks, permits, drafts)
 * comes back by itself.
 *
 * fork. A child does not take part in the arenas of its parent. There, functions that can fail return FARETRA_FORKED; to free what
 * came through fork does nothing; memory that the parent had read stays readable for as long as the parent keeps it.
 * faretra_arena_reopen, or faretra_arena_open, takes part in the child. exec, and exit without freeing anything, are fine.
 *
 * Pointers that are null, handles of another kind, text that is not UTF-8 and sizes below zero are FARETRA_INVALID. Pointers to
 * memory that is not there, or not there any more, are as bad as anywhere in C.
 *
 * Made by `cargo xtask header --write`. Do not edit.
 */

#ifndef FARETRA_H
#define FARETRA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The structures of the Arrow C data interface, as its specification has them. */

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4

struct ArrowSchema {
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};

struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE

struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
  int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
  const char *(*get_last_error)(struct ArrowArrayStream *);
  void (*release)(struct ArrowArrayStream *);
  void *private_data;
};

#endif /* ARROW_C_STREAM_INTERFACE */

#ifdef __cplusplus
}
#endif

/* Options that are all defaults, to be changed field by field. */
#define FARETRA_OPTIONS {sizeof(faretra_options), 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * A timeout that never comes.
 */
#define FARETRA_FOREVER (-1)

/**
 * A flag of ends: items may be of different kinds and schemas. Used by who makes the channel or feed. Without it, a channel whose
 * first item is a batch takes batches of that schema only.
 */
#define FARETRA_MIXED 1

/**
 * A flag of ends: waits go on when nobody is at the other end. Without it they fail with `FARETRA_DESERTED`.
 */
#define FARETRA_STAY 2

/**
 * When a feed is full: an append waits for the slowest subscriber.
 */
#define FARETRA_BLOCK 0

/**
 * When a feed is full: the oldest item goes.
 */
#define FARETRA_DROP_OLDEST 1

/**
 * When a feed is full: an append fails with `FARETRA_TIMED_OUT`.
 */
#define FARETRA_FAIL 2

/**
 * Where a subscriber begins: at the oldest item that is there.
 */
#define FARETRA_OLDEST (-1)

/**
 * Where a subscriber begins: behind the newest item that is there.
 */
#define FARETRA_NEWEST (-2)

/**
 * What became of a call, sorted by what can be done about it. The numbers stay what they are; later versions may add some.
 */
typedef enum {
  /**
   * It was done.
   */
  FARETRA_OK = 0,
  /**
   * An argument cannot be: a null pointer, a handle of another kind, text that is not UTF-8, a size below zero, a name or an
   * option that is not usable. Nothing was changed: correct the call.
   */
  FARETRA_INVALID = 1,
  /**
   * There is nothing of this name. Create it, publish it, or wait for it.
   */
  FARETRA_NOT_FOUND = 2,
  /**
   * An arena of this name exists already. Open it, or remove it first.
   */
  FARETRA_ALREADY_EXISTS = 3,
  /**
   * Another version is current than the one that was to be replaced. Read again, and retry.
   */
  FARETRA_CONFLICT = 4,
  /**
   * Memory ran out. Nothing was lost, and a smaller request still works.
   */
  FARETRA_NO_SPACE = 5,
  /**
   * One thing is larger than the arena can have it. Waiting does not help.
   */
  FARETRA_TOO_LARGE = 6,
  /**
   * All of a fixed number of things are in use. Wait until one is free, or end one.
   */
  FARETRA_LIMIT = 7,
  /**
   * What was waited for did not come in time, or is not there now if the timeout is 0.
   */
  FARETRA_TIMED_OUT = 8,
  /**
   * The interrupt hook ended the wait. Nothing was changed: make the call again, or give up.
   */
  FARETRA_INTERRUPTED = 9,
  /**
   * A channel or feed did not take a value.
   */
  FARETRA_NOT_SENT = 10,
  /**
   * The value is of another kind, element type, shape or schema than was asked for.
   */
  FARETRA_MISMATCH = 11,
  /**
   * The file is not an arena that this version can use: foreign, of another version, or cut.
   */
  FARETRA_NOT_AN_ARENA = 12,
  /**
   * Something in the arena contradicts itself. Other objects may still be fine.
   */
  FARETRA_DAMAGED = 13,
  /**
   * The arena belongs to somebody else, or others may write it.
   */
  FARETRA_UNTRUSTED = 14,
  /**
   * The handle came through `fork`. The child has to open the arena itself: `faretra_arena_reopen`.
   */
  FARETRA_FORKED = 15,
  /**
   * The operating system refused; `os_error` of the last error says why.
   */
  FARETRA_OS = 16,
  /**
   * Arrow could not make sense of a value.
   */
  FARETRA_ARROW = 17,
  /**
   * The channel or feed was closed, and everything in it was received.
   */
  FARETRA_CLOSED = 18,
  /**
   * Nobody is at the other end of the channel or feed: the last one left or died. It goes on when another one comes.
   */
  FARETRA_DESERTED = 19,
  /**
   * The feed dropped items before this subscriber read them. `found` of the last error says how many; the next call goes on
   * behind them.
   */
  FARETRA_LAGGED = 20,
  /**
   * The library itself failed: please report the text of the last error. What the call was about may be half done.
   */
  FARETRA_PANIC = 21,
} faretra_code;

/**
 * What an object is.
 */
typedef enum {
  /**
   * A kind that this version of the library does not know, or a damaged record.
   */
  FARETRA_KIND_OTHER = 0,
  /**
   * An Arrow record batch.
   */
  FARETRA_KIND_BATCH = 1,
  /**
   * Arrow record batches of one schema.
   */
  FARETRA_KIND_TABLE = 2,
  /**
   * An n-dimensional array.
   */
  FARETRA_KIND_ARRAY = 3,
  /**
   * Plain bytes.
   */
  FARETRA_KIND_BYTES = 4,
  /**
   * Several named values that were published at once.
   */
  FARETRA_KIND_BUNDLE = 5,
  /**
   * A lock that one holder has at a time.
   */
  FARETRA_KIND_MUTEX = 6,
  /**
   * A counting semaphore.
   */
  FARETRA_KIND_SEMAPHORE = 7,
  /**
   * A flag that is waited for.
   */
  FARETRA_KIND_EVENT = 8,
  /**
   * A small value that changes in place.
   */
  FARETRA_KIND_VALUE = 9,
  /**
   * An array that is written in partitions.
   */
  FARETRA_KIND_MUTABLE_ARRAY = 10,
  /**
   * A condition.
   */
  FARETRA_KIND_CONDITION = 11,
  /**
   * A queue of objects.
   */
  FARETRA_KIND_CHANNEL = 12,
  /**
   * A ring of objects that every subscriber sees whole.
   */
  FARETRA_KIND_FEED = 13,
} faretra_kind;

/**
 * An arena that this process takes part in.
 */
typedef struct faretra_arena faretra_arena;

/**
 * A value that is being written in place. One thread at a time can use it.
 */
typedef struct faretra_draft faretra_draft;

/**
 * The names of an arena at one moment.
 */
typedef struct faretra_entries faretra_entries;

/**
 * A flag that processes wait for. Many threads can use it.
 */
typedef struct faretra_event faretra_event;

/**
 * The producing end of a feed. Many threads can use it.
 */
typedef struct faretra_feed faretra_feed;

/**
 * An item that was received, and belongs to this process until the lease ends.
 */
typedef struct faretra_lease faretra_lease;

/**
 * A lock that one holder has at a time. Many threads can use it.
 */
typedef struct faretra_mutex faretra_mutex;

/**
 * An object of an arena, pinned.
 */
typedef struct faretra_object faretra_object;

/**
 * A descriptor that tells when something is ready.
 */
typedef struct faretra_pollable faretra_pollable;

/**
 * The receiving end of a channel. Many threads can use it.
 */
typedef struct faretra_receiver faretra_receiver;

/**
 * Several things to be waited for at once. One thread at a time can use it.
 */
typedef struct faretra_select faretra_select;

/**
 * A semaphore. Many threads can use it.
 */
typedef struct faretra_semaphore faretra_semaphore;

/**
 * The sending end of a channel. Many threads can use it.
 */
typedef struct faretra_sender faretra_sender;

/**
 * A reader of a feed. One thread at a time can use it.
 */
typedef struct faretra_subscriber faretra_subscriber;

/**
 * One of the arena's permits to write, for as long as it or a draft, sender or feed of it is there.
 */
typedef struct faretra_writer faretra_writer;

/**
 * The last failure of a call in this thread.
 */
typedef struct {
  /**
   * What the call returned.
   */
  faretra_code code;
  /**
   * The system's number (`errno`), with `FARETRA_OS`; 0 otherwise.
   */
  int32_t os_error;
  /**
   * What was asked for: bytes, with `FARETRA_NO_SPACE` and `FARETRA_TOO_LARGE`; the expected version, with
   * `FARETRA_CONFLICT`; 0 otherwise.
   */
  uint64_t asked;
  /**
   * What there was: free bytes, with `FARETRA_NO_SPACE`; the most that can be, with `FARETRA_TOO_LARGE` and `FARETRA_LIMIT`;
   * the current version, with `FARETRA_CONFLICT`; dropped items, with `FARETRA_LAGGED`; broken rules, with `FARETRA_DAMAGED`
   * from `faretra_arena_verify`; 0 otherwise.
   */
  uint64_t found;
  /**
   * What was wrong, with the numbers, and what to do: text that ends in a null byte.
   */
  const char *message;
} faretra_error;

/**
 * How an arena is made or opened. Begin with `faretra_options options = FARETRA_OPTIONS;`, and set what differs from the
 * default, which is 0 or null everywhere. Where a function takes a pointer to options, null stands for all defaults.
 */
typedef struct {
  /**
   * `sizeof(faretra_options)`, so that later versions can have more: `FARETRA_OPTIONS` sets it.
   */
  size_t size;
  /**
   * The directory of arenas, which is on a tmpfs. Default: the environment variable `FARETRA_DIR`, or `/dev/shm`.
   */
  const char *dir;
  /**
   * How many bytes the arena may use at first; `faretra_arena_set_limit` changes it. Used by create. Default: 1 GiB.
   */
  uint64_t limit;
  /**
   * How many bytes the arena may ever use: address space, not memory. Used by create. Default: 16 times the limit, at least
   * 64 GiB.
   */
  uint64_t capacity;
  /**
   * How many writers there may be at a time, 1 to 1024. Used by create. Default: 64.
   */
  uint32_t writers;
  /**
   * How many times the arena may be open at a time, in all processes together: 1 to 4,095. Used by create. Default: 255.
   */
  uint32_t participants;
  /**
   * The permissions of the arena's file. Used by create. Default: 0600.
   */
  uint32_t mode;
  /**
   * Not 0: the arena goes with its last participant, however that ends. Used by create. Default: it stays.
   */
  uint32_t ephemeral;
  /**
   * Not 0: all values of a batch are validated each time it is read. Default: what leads to other memory is, once.
   */
  uint32_t untrusted;
  /**
   * Not 0: opens an arena of another user, or one that others may write. Whoever can write it is trusted to run this library,
   * and no other code that writes there: hostile bytes can lead reads out of the arena. Default: such arenas are refused.
   */
  uint32_t trust_others;
} faretra_options;

/**
 * How an arena is used, in bytes where nothing else is said.
 */
typedef struct {
  /**
   * What it may use now.
   */
  uint64_t limit;
  /**
   * What it may use at most ever.
   */
  uint64_t capacity;
  /**
   * What it has in memory, by the kernel's count.
   */
  uint64_t used;
  /**
   * What its objects have.
   */
  uint64_t live;
  /**
   * What is free, and kept in memory to be used again.
   */
  uint64_t warm;
  /**
   * What its own tables have.
   */
  uint64_t metadata;
  /**
   * How many objects there are.
   */
  uint64_t objects;
  /**
   * How many names there are.
   */
  uint64_t names;
  /**
   * How many times it is open.
   */
  uint32_t participants;
  /**
   * How many times it may be open at a time.
   */
  uint32_t participants_most;
  /**
   * How many writers there are.
   */
  uint32_t writers;
  /**
   * How many writers there may be at a time.
   */
  uint32_t writers_most;
} faretra_stats;

/**
 * A value to publish, send or append: made by `faretra_value_...`, and good for as long as what it was made of. Its fields are
 * nobody's business.
 */
typedef struct {
  uint32_t kind;
  uint32_t reserved;
  const void *data;
  const void *detail;
  size_t len;
  const int64_t *shape;
  const int64_t *strides;
} faretra_value;

/**
 * What is known of an object.
 */
typedef struct {
  /**
   * What it is.
   */
  faretra_kind kind;
  /**
   * Which version of its name it is; 0 for what has no name.
   */
  uint64_t version;
  /**
   * Bytes of the arena that it has.
   */
  uint64_t nbytes;
  /**
   * Rows of a batch or table, elements of an array, members of a bundle, bytes of bytes.
   */
  uint64_t rows;
  /**
   * When it was published: nanoseconds since 1970, by the clock of the process that did.
   */
  uint64_t published_ns;
} faretra_info;

/**
 * An n-dimensional array. Every pointer is good until the object is freed.
 */
typedef struct {
  /**
   * The element of which all indices are 0.
   */
  const void *data;
  /**
   * Bytes of all elements, which lie one behind the other from `data` on.
   */
  size_t nbytes;
  /**
   * The element type as numpy writes it: `<f8`, `|u1`, `[('x', '<f4'), ('y', '<f4')]`.
   */
  const char *dtype;
  /**
   * How many axes there are, 32 at most.
   */
  size_t rank;
  /**
   * How many elements each axis has.
   */
  const int64_t *shape;
  /**
   * How many bytes a step along each axis is.
   */
  const int64_t *strides;
} faretra_ndarray;

/**
 * A name, and what it stands for.
 */
typedef struct {
  /**
   * The name, good until the list is freed.
   */
  const char *name;
  /**
   * What it stands for.
   */
  faretra_kind kind;
  /**
   * How often something was published under it.
   */
  uint64_t version;
  /**
   * Bytes of the arena that the object has.
   */
  uint64_t nbytes;
  /**
   * Rows of a batch or table, elements of an array, members of a bundle, bytes of bytes.
   */
  uint64_t rows;
} faretra_entry;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 * ----------------------------------------------------------------------------------------------------
 * Errors.
 *
 * Every function that can fail returns a `faretra_code`, `FARETRA_OK` if it did what it was asked. What a code cannot say,
 * `faretra_last_error` does: one line of text, and the numbers. Like `errno`, it belongs to the thread: so a failure costs no
 * argument in calls that succeed, and there is nothing to be freed. A program whose calls change threads between a call and the
 * question (goroutines, fibers) keeps the two in one thread.
 *
 * Whatever a function was to give out through a pointer is null, or unchanged, if the function fails. No call ends the process:
 * what would be a panic of the library is `FARETRA_PANIC`.
 * ----------------------------------------------------------------------------------------------------
 */

/**
 * Returns the last failure of a call in this thread; one whose code is `FARETRA_OK` if none failed. A call that succeeds
 * leaves it as it is. It is good until another call fails in this thread, or the thread ends; never null.
 */
const faretra_error *faretra_last_error(void);

/**
 * Returns the name of a code, for logs: `"not_found"` for `FARETRA_NOT_FOUND`. Never null, and good for ever.
 */
const char *faretra_code_name(int32_t code);

/**
 * Returns the version of the library, such as `"0.1.0"`. Never null, and good for ever.
 */
const char *faretra_version(void);

/*
 * ----------------------------------------------------------------------------------------------------
 * Arenas.
 *
 * An arena is one named piece of shared memory, mapped by every process that takes part. `faretra_arena_create` and
 * `faretra_arena_open` take part in one; `faretra_arena_free` ends that, or the process's end does, however it comes. The arena
 * itself stays until `faretra_arena_remove`, unless it was made with `ephemeral`.
 *
 * Whoever writes has a `faretra_writer`, one of a fixed number that the arena has.
 * ----------------------------------------------------------------------------------------------------
 */

/**
 * Makes an arena and takes part in it. Fails with `FARETRA_ALREADY_EXISTS` if there is one of this name.
 */
faretra_code faretra_arena_create(const char *name, const faretra_options *options, faretra_arena **arena);

/**
 * Takes part in an arena. Fails with `FARETRA_NOT_FOUND` if there is none of this name.
 */
faretra_code faretra_arena_open(const char *name, const faretra_options *options, faretra_arena **arena);

/**
 * Takes part in the arena of this name, and makes it if there is none. One that is there stays as it was made.
 */
faretra_code faretra_arena_open_or_create(const char *name,
                                          const faretra_options *options,
                                          faretra_arena **arena);

/**
 * Takes part anew in an arena that came through `fork`: the child calls this with its parent's handle, and gets one of its own.
 * In the parent, it is a second handle.
 */
faretra_code faretra_arena_reopen(faretra_arena *arena,
                                  faretra_arena **reopened);

/**
 * Takes an arena's name away. Processes that have it open go on; its memory goes with the last of them.
 */
faretra_code faretra_arena_remove(const char *name, const faretra_options *options);

/**
 * Gives an arena up. What was made of it (writers, objects, channels, exported arrays) goes on, and each keeps the arena open
 * until it is given up itself, in whatever order. A null pointer is nothing to give up, as it is for every `_free`.
 */
void faretra_arena_free(faretra_arena *arena);

/**
 * Waits for one of the arena's permits to write. Many threads can use one writer.
 */
faretra_code faretra_writer_new(faretra_arena *arena, int64_t timeout_ms, faretra_writer **writer);

/**
 * Gives a writer up.
 */
void faretra_writer_free(faretra_writer *writer);

/**
 * Sets how many bytes the arena may use. It applies to all processes at once.
 */
faretra_code faretra_arena_set_limit(faretra_arena *arena, uint64_t bytes);

/**
 * Tells how the arena is used.
 */
faretra_code faretra_arena_stats(faretra_arena *arena, faretra_stats *stats);

/**
 * Gives memory that is free and kept to be used again back to the system. `bytes` may be null; otherwise it tells how much.
 */
faretra_code faretra_arena_trim(faretra_arena *arena,
                                uint64_t *bytes);

/**
 * Settles what dead processes left, now. Waits, full memory and every `faretra_arena_open` do so by themselves. `participants`
 * may be null; otherwise it tells how many dead there were.
 */
faretra_code faretra_arena_recover(faretra_arena *arena,
                                   uint32_t *participants);

/**
 * Checks every rule that the arena keeps. Fails with `FARETRA_DAMAGED` if one is broken; the last error has how many in `found`,
 * and one line of text for each.
 */
faretra_code faretra_arena_verify(faretra_arena *arena);

/**
 * Sets the function that every wait of this process asks, about every 90 ms and at once after a signal handler ran in the
 * waiting thread, whether to end: if it returns anything but 0, the wait fails with `FARETRA_INTERRUPTED`. Without one, signals
 * end no wait. Any thread that waits calls it. `hook` null: none.
 */
void faretra_set_interrupt_hook(int (*hook)(void*),
                                void *context);

/*
 * ----------------------------------------------------------------------------------------------------
 * Publishing.
 *
 * A value is a `faretra_value`: plain data that says where something lies, made by one of the `faretra_value_...` functions and
 * passed on at once. `faretra_publish`, `faretra_send` and `faretra_append` copy it into the arena, once, before they return:
 * memory and structures stay the caller's, to be freed or released by the caller, whatever becomes of the call. What lies in the
 * same arena already (an object; the columns of a batch that was read there) is shared instead of copied.
 * ----------------------------------------------------------------------------------------------------
 */

/**
 * Returns a record batch as a value: a struct array whose children are the columns. Neither structure is released.
 */
faretra_value faretra_value_batch(const struct ArrowArray *array,
                                  const struct ArrowSchema *schema);

/**
 * Returns all batches of a stream as a value: a table. The call that takes the value reads the stream, also if it fails, and
 * does not release it.
 */
faretra_value faretra_value_stream(struct ArrowArrayStream *stream);

/**
 * Returns bytes as a value.
 */
faretra_value faretra_value_bytes(const void *data, size_t len);

/**
 * Returns an n-dimensional array as a value. `dtype` is its element type as numpy writes it: `<f8`, `|u1`, `<i4`. `shape` has
 * `rank` lengths. `strides` has as many steps in bytes, which may be 0 or negative, and `data` is the element of which all
 * indices are 0; with `strides` null the elements lie one behind the other in C order. All of these, `dtype` too, have to stay until
 * the value is published: a language that makes text for C for one call only has to keep it longer.
 */
faretra_value faretra_value_array(const char *dtype,
                                  size_t rank,
                                  const int64_t *shape,
                                  const int64_t *strides,
                                  const void *data);

/**
 * Returns an object that was read as a value: nothing is copied if it is of the same arena.
 */
faretra_value faretra_value_object(faretra_object *object);

/**
 * Returns a draft as a value: nothing is copied. The call that takes it uses the draft up, and its memory must not be written
 * any more; the handle is still to be freed. A `faretra_send` or `faretra_append` that found no room in time leaves it to be
 * sent again.
 */
faretra_value faretra_value_draft(faretra_draft *draft);

/**
 * Returns several named values as one, which are published at once or not at all: `count` names and as many values.
 */
faretra_value faretra_value_bundle(size_t count,
                                   const char *const *names,
                                   const faretra_value *values);

/**
 * Publishes a value under a name, in place of what the name stood for. `version` may be null; otherwise it tells the version.
 * Waits for nobody. Readers have the old value or the new one, and never less than a whole one.
 */
faretra_code faretra_publish(faretra_writer *writer,
                             const char *name,
                             faretra_value value,
                             uint64_t *version);

/**
 * Publishes a value under a name if the current version is `expected` (0: if there is no such name). Fails with
 * `FARETRA_CONFLICT` otherwise, and changes nothing then.
 */
faretra_code faretra_publish_if(faretra_writer *writer,
                                const char *name,
                                uint64_t expected,
                                faretra_value value,
                                uint64_t *version);

/**
 * Removes a name: of an object, channel, feed or lock. Processes that have it keep it. Fails with `FARETRA_NOT_FOUND` if there
 * is none.
 */
faretra_code faretra_remove(faretra_writer *writer,
                            const char *name);

/*
 * ----------------------------------------------------------------------------------------------------
 * Reading.
 *
 * `faretra_get` pins what a name stands for. Nothing is copied and no system call is made: what the functions below give out is
 * the arena's own memory, mapped read-only, and never changes. `faretra_object_free` ends the pin. Whatever somebody reads stays,
 * whether its name is published again or removed meanwhile. A process that dies holds nothing any more.
 *
 * Batches and tables come as structures of the Arrow C data interface <https://arrow.apache.org/docs/format/CDataInterface.html>,
 * which have pins of their own: release them whenever and in whatever thread, also after the object and the arena were freed.
 * ----------------------------------------------------------------------------------------------------
 */

/**
 * Pins what a name stands for now. Fails with `FARETRA_NOT_FOUND` if there is no such name. Does not wait.
 */
faretra_code faretra_get(faretra_arena *arena, const char *name, faretra_object **object);

/**
 * Waits until a name stands for a version above `newer_than` (0: until there is any), and pins that.
 */
faretra_code faretra_wait_for(faretra_arena *arena,
                              const char *name,
                              uint64_t newer_than,
                              int64_t timeout_ms,
                              faretra_object **object);

/**
 * Reads the batch that a name stands for, without a handle to be freed. As `faretra_get` and `faretra_object_batch` do.
 */
faretra_code faretra_get_batch(faretra_arena *arena,
                               const char *name,
                               struct ArrowArray *array,
                               struct ArrowSchema *schema);

/**
 * Reads the table or batch that a name stands for, without a handle to be freed. As `faretra_get` and `faretra_object_stream` do.
 */
faretra_code faretra_get_stream(faretra_arena *arena,
                                const char *name,
                                struct ArrowArrayStream *stream);

/**
 * Tells what an object is.
 */
faretra_code faretra_object_info(faretra_object *object, faretra_info *info);

/**
 * Returns the name that an object was read by, good until the object is freed; null for what is no object.
 */
const char *faretra_object_name(faretra_object *object);

/**
 * Reads a batch: a struct array whose children are the columns. Their buffers are the arena's memory: do not write there.
 * `schema` may be null. Fails with `FARETRA_MISMATCH` for another kind of object.
 */
faretra_code faretra_object_batch(faretra_object *object,
                                  struct ArrowArray *array,
                                  struct ArrowSchema *schema);

/**
 * Reads a table: its batches, one after another. A batch is a table of one.
 */
faretra_code faretra_object_stream(faretra_object *object, struct ArrowArrayStream *stream);

/**
 * Reads bytes. They are good until the object is freed.
 */
faretra_code faretra_object_bytes(faretra_object *object, const void **data, size_t *len);

/**
 * Reads an array. Fails with `FARETRA_MISMATCH` for another kind of object.
 */
faretra_code faretra_object_array(faretra_object *object, faretra_ndarray *array);

/**
 * Reads a member of a bundle. It keeps the whole bundle.
 */
faretra_code faretra_object_member(faretra_object *object,
                                   const char *name,
                                   faretra_object **member);

/**
 * Ends the pin of an object, and with it what the functions above showed of it. Not for the object of a lease.
 */
void faretra_object_free(faretra_object *object);

/**
 * Lists the names of the arena: objects, channels, feeds and locks.
 */
faretra_code faretra_names(faretra_arena *arena, faretra_entries **entries);

/**
 * Returns how many names the list has; 0 for what is no list.
 */
size_t faretra_entries_count(faretra_entries *entries);

/**
 * Tells of the name of this number, the first one's being 0.
 */
faretra_code faretra_entries_get(faretra_entries *entries, size_t index, faretra_entry *entry);

/**
 * Frees a list of names.
 */
void faretra_entries_free(faretra_entries *entries);

/*
 * ----------------------------------------------------------------------------------------------------
 * Drafts.
 *
 * A draft is memory of the arena that nobody else sees yet. The program writes into it, and publishes or sends it with
 * `faretra_value_draft`: nothing is copied. A draft that is freed instead, or whose process dies, leaves nothing behind.
 *
 * The pointers that a draft gives out are good until the draft is published, sent or freed. Do not write through them later:
 * readers would see it. A child of `fork` must not write through them either.
 * ----------------------------------------------------------------------------------------------------
 */

/**
 * Drafts bytes. `data` tells where; they are arbitrary at first.
 */
faretra_code faretra_draft_bytes(faretra_writer *writer,
                                 size_t len,
                                 faretra_draft **draft,
                                 void **data);

/**
 * Drafts an array of this element type, as numpy writes it, and this shape. `data` tells where its elements are, one behind the
 * other: in C order, or in Fortran order if `fortran` is not 0. Numbers are arbitrary at first.
 */
faretra_code faretra_draft_array(faretra_writer *writer,
                                 const char *dtype,
                                 size_t rank,
                                 const int64_t *shape,
                                 int32_t fortran,
                                 faretra_draft **draft,
                                 void **data);

/**
 * Drafts a batch of `rows` rows. The schema is not released. `text_bytes` has, for each column, how many bytes of text or binary
 * values there may be in it; null: 32 for each row.
 */
faretra_code faretra_draft_batch(faretra_writer *writer,
                                 const struct ArrowSchema *schema,
                                 int64_t rows,
                                 const size_t *text_bytes,
                                 faretra_draft **draft);

/**
 * Tells where the values of a column of any fixed width lie, row after row, to be written. Numbers are arbitrary at first: write
 * all. Dates, times and decimals are the integers that Arrow stores. `nbytes` may be null.
 */
faretra_code faretra_draft_column(faretra_draft *draft,
                                  const char *column,
                                  void **data,
                                  size_t *nbytes);

/**
 * Writes the next row of a column of text or binary values: `len` bytes, or null if `data` is a null pointer. Every row has to be
 * written.
 */
faretra_code faretra_draft_push(faretra_draft *draft,
                                const char *column,
                                const void *data,
                                size_t len);

/**
 * Sets a row of a column of booleans, which are false at first.
 */
faretra_code faretra_draft_set_bool(faretra_draft *draft,
                                    const char *column,
                                    int64_t row,
                                    int32_t value);

/**
 * Makes a row of a nullable column null. (Rows of text are made null by `faretra_draft_push`.)
 */
faretra_code faretra_draft_set_null(faretra_draft *draft, const char *column, int64_t row);

/**
 * Frees a draft, and gives its memory back unless it was published or sent.
 */
void faretra_draft_free(faretra_draft *draft);

/*
 * ----------------------------------------------------------------------------------------------------
 * Channels.
 *
 * A channel is a queue in the arena: each item goes to one receiver. A receiver gets a lease of an item, and ends it in one of three
 * ways: acknowledged, given back, or forwarded to another channel. The item of a receiver that dies goes to another one, so that
 * items are delivered at least once, and acknowledged at most once.
 *
 * Freeing a sender or receiver leaves the channel; `faretra_sender_close` closes it for everybody.
 * ----------------------------------------------------------------------------------------------------
 */

/**
 * Opens the sending end of a channel, and makes the channel if there is none of this name. It holds `capacity` items; 0: as many
 * as the arena has memory for.
 */
faretra_code faretra_sender_new(faretra_writer *writer,
                                const char *name,
                                size_t capacity,
                                uint32_t flags,
                                faretra_sender **sender);

/**
 * Sends a value. Waits while the channel, or the arena, is full. Fails with `FARETRA_TIMED_OUT` if it stays full,
 * `FARETRA_CLOSED` if it is closed, `FARETRA_DESERTED` if it is full and its last receiver left or died.
 */
faretra_code faretra_send(faretra_sender *sender,
                          faretra_value value,
                          int64_t timeout_ms);

/**
 * Closes the channel for every sender. Receivers get what is in it, and then `FARETRA_CLOSED`.
 */
faretra_code faretra_sender_close(faretra_sender *sender);

/**
 * Leaves the channel. Receivers are told, with `FARETRA_DESERTED`, when the last sender has left a channel that is not closed.
 */
void faretra_sender_free(faretra_sender *sender);

/**
 * Opens the receiving end of a channel. Waits until there is a channel of this name; with a timeout of 0, fails with
 * `FARETRA_NOT_FOUND` if there is none.
 */
faretra_code faretra_receiver_new(faretra_arena *arena,
                                  const char *name,
                                  int64_t timeout_ms,
                                  uint32_t flags,
                                  faretra_receiver **receiver);

/**
 * Receives the next item: a lease, to be ended. Waits for one. Fails with `FARETRA_TIMED_OUT` if none comes in time,
 * `FARETRA_CLOSED` if the channel is closed and everything in it was acknowledged, `FARETRA_DESERTED` if it is empty and its last
 * sender left or died.
 */
faretra_code faretra_recv(faretra_receiver *receiver,
                          int64_t timeout_ms,
                          faretra_lease **lease);

/**
 * Leaves the channel. Senders are told when the last receiver left.
 */
void faretra_receiver_free(faretra_receiver *receiver);

/**
 * Returns the item of a lease, to be read as any object. It is the lease's: do not free it, and do not use it after the lease. What
 * has a pin of its own (Arrow's structures) may be kept. Null for what is no lease.
 */
faretra_object *faretra_lease_object(faretra_lease *lease);

/**
 * Returns how often the item was received before: above 0 if somebody gave it back, or died with it.
 */
uint64_t faretra_lease_attempts(faretra_lease *lease);

/**
 * Acknowledges the item, and ends the lease: nobody receives it again.
 */
void faretra_lease_ack(faretra_lease *lease);

/**
 * Gives the item back, and ends the lease: the next receiver gets it.
 */
void faretra_lease_nack(faretra_lease *lease);

/**
 * Sends the item on to another channel and ends the lease, in one step: it is in one of the two channels, whoever dies meanwhile.
 * Nothing is copied within an arena. If it fails, the lease is as it was, and still to be ended.
 */
faretra_code faretra_lease_forward(faretra_lease *lease,
                                   faretra_sender *to,
                                   int64_t timeout_ms);

/*
 * ----------------------------------------------------------------------------------------------------
 * Feeds.
 *
 * A feed is a ring in the arena that every subscriber sees whole: each item goes to all of them, in order. A subscriber that is too
 * slow for a feed that drops its oldest items is told how many it missed.
 * ----------------------------------------------------------------------------------------------------
 */

/**
 * Opens the producing end of a feed, and makes the feed if there is none of this name. It keeps `capacity` items. `when_full` is
 * `FARETRA_BLOCK`, `FARETRA_DROP_OLDEST` or `FARETRA_FAIL`; of the flags, `FARETRA_MIXED` counts.
 */
faretra_code faretra_feed_new(faretra_writer *writer,
                              const char *name,
                              size_t capacity,
                              uint32_t when_full,
                              uint32_t flags,
                              faretra_feed **feed);

/**
 * Appends a value. Waits while the feed is full, if that is what it does then, or the arena is.
 */
faretra_code faretra_append(faretra_feed *feed, faretra_value value, int64_t timeout_ms);

/**
 * Ends the feed for every producer. Subscribers get what is in it, and then `FARETRA_CLOSED`.
 */
faretra_code faretra_feed_close(faretra_feed *feed);

/**
 * Leaves the feed, and does not end it.
 */
void faretra_feed_free(faretra_feed *feed);

/**
 * Subscribes to a feed from `start` on: `FARETRA_OLDEST`, `FARETRA_NEWEST`, or the number of an item, the first one's being 0. Waits
 * until there is a feed of this name; with a timeout of 0, fails with `FARETRA_NOT_FOUND` if there is none. Of the flags,
 * `FARETRA_STAY` counts.
 */
faretra_code faretra_subscribe(faretra_arena *arena,
                               const char *name,
                               int64_t start,
                               int64_t timeout_ms,
                               uint32_t flags,
                               faretra_subscriber **subscriber);

/**
 * Reads the next item of a feed. Waits for one. Fails with `FARETRA_LAGGED` if items were dropped before they were read: the next
 * call goes on behind them; with `FARETRA_TIMED_OUT`, `FARETRA_CLOSED`, `FARETRA_DESERTED` as `faretra_recv` does.
 */
faretra_code faretra_next(faretra_subscriber *subscriber,
                          int64_t timeout_ms,
                          faretra_object **object);

/**
 * Leaves the feed.
 */
void faretra_subscriber_free(faretra_subscriber *subscriber);

/*
 * ----------------------------------------------------------------------------------------------------
 * Locks.
 *
 * Locks are objects with names: the first process that asks for one makes it. They belong to processes, not to threads: any thread
 * may unlock, and a thread that locks a mutex twice waits for itself. What a process holds when it dies comes back within 100 ms of
 * the kernel's letting go of it, and `recovered` tells the next holder.
 * ----------------------------------------------------------------------------------------------------
 */

/**
 * Opens the mutex of this name, and makes it if there is none.
 */
faretra_code faretra_mutex_new(faretra_arena *arena, const char *name, faretra_mutex **mutex);

/**
 * Waits until the mutex is free, and locks it. `recovered` may be null; otherwise it tells whether an earlier holder died with it, and
 * nobody has called `faretra_mutex_mark_consistent` since.
 */
faretra_code faretra_mutex_lock(faretra_mutex *mutex,
                                int64_t timeout_ms,
                                int *recovered);

/**
 * Says that what the mutex guards is consistent again: later holders are not told any more. Fails with `FARETRA_INVALID` if it was
 * not locked through this handle.
 */
faretra_code faretra_mutex_mark_consistent(faretra_mutex *mutex);

/**
 * Unlocks the mutex. Fails with `FARETRA_INVALID` if it was not locked through this handle.
 */
faretra_code faretra_mutex_unlock(faretra_mutex *mutex);

/**
 * Frees the handle, and unlocks the mutex if it was locked through it.
 */
void faretra_mutex_free(faretra_mutex *mutex);

/**
 * Opens the semaphore of this name, and makes it with so many permits if there is none.
 */
faretra_code faretra_semaphore_new(faretra_arena *arena,
                                   const char *name,
                                   uint32_t permits,
                                   faretra_semaphore **semaphore);

/**
 * Waits until a permit is free, and takes it. `recovered` may be null; otherwise it tells whether the holder before died with it.
 */
faretra_code faretra_semaphore_acquire(faretra_semaphore *semaphore,
                                       int64_t timeout_ms,
                                       int *recovered);

/**
 * Gives back a permit that was taken through this handle. Fails with `FARETRA_INVALID` if there is none.
 */
faretra_code faretra_semaphore_release(faretra_semaphore *semaphore);

/**
 * Tells how many permits are free at this moment.
 */
faretra_code faretra_semaphore_available(faretra_semaphore *semaphore, uint32_t *permits);

/**
 * Frees the handle, and gives back the permits that were taken through it.
 */
void faretra_semaphore_free(faretra_semaphore *semaphore);

/**
 * Opens the event of this name, and makes it if there is none. If `auto_reset` is not 0, each set lets one waiter pass, who resets it.
 */
faretra_code faretra_event_new(faretra_arena *arena,
                               const char *name,
                               int auto_reset,
                               faretra_event **event);

/**
 * Sets the event.
 */
faretra_code faretra_event_set(faretra_event *event);

/**
 * Resets the event.
 */
faretra_code faretra_event_reset(faretra_event *event);

/**
 * Waits until the event is set. With a timeout of 0, `FARETRA_TIMED_OUT` says that it is not.
 */
faretra_code faretra_event_wait(faretra_event *event, int64_t timeout_ms);

/**
 * Frees the handle. The event is as it was.
 */
void faretra_event_free(faretra_event *event);

/*
 * ----------------------------------------------------------------------------------------------------
 * Waiting for several things.
 *
 * A `faretra_pollable` has a file descriptor for `poll`, `epoll` and every event loop. It is a hint: once it is readable, make calls
 * with a timeout of 0 until one finds nothing, then `faretra_pollable_rearm`, which says whether something came in between. One
 * thread of the library serves all descriptors of a process, and only once there is one.
 *
 * A `faretra_select` waits for several things by one call, without a descriptor.
 * ----------------------------------------------------------------------------------------------------
 */

/**
 * Makes a descriptor that is readable when there is an item to receive, or when none comes any more.
 */
faretra_code faretra_receiver_pollable(faretra_receiver *receiver, faretra_pollable **pollable);

/**
 * Makes a descriptor that is readable when the channel has room, is closed, or has lost its last receiver.
 */
faretra_code faretra_sender_pollable(faretra_sender *sender, faretra_pollable **pollable);

/**
 * Makes a descriptor that is readable when there is an item for the subscriber, or when none comes any more.
 */
faretra_code faretra_subscriber_pollable(faretra_subscriber *subscriber, faretra_pollable **pollable);

/**
 * Makes a descriptor that is readable when a name stands for a version above `newer_than`.
 */
faretra_code faretra_name_pollable(faretra_arena *arena,
                                   const char *name,
                                   uint64_t newer_than,
                                   faretra_pollable **pollable);

/**
 * Makes a descriptor that is readable when an event is set.
 */
faretra_code faretra_event_pollable(faretra_event *event, faretra_pollable **pollable);

/**
 * Returns the number of the descriptor: wait until it is readable, and neither read nor close it. -1 for what is none.
 */
int faretra_pollable_fd(faretra_pollable *pollable);

/**
 * Makes the descriptor unreadable until something comes. `ready` tells whether something came already: then it stays readable.
 */
faretra_code faretra_pollable_rearm(faretra_pollable *pollable,
                                    int *ready);

/**
 * Closes the descriptor.
 */
void faretra_pollable_free(faretra_pollable *pollable);

/**
 * Makes a wait for several things, of which there are none yet.
 */
faretra_code faretra_select_new(faretra_select **select);

/**
 * Adds a receiver. `index` may be null; otherwise it tells the number of what was added, from 0 on, here and below. What was added
 * may be freed.
 */
faretra_code faretra_select_recv(faretra_select *select,
                                 faretra_receiver *receiver,
                                 size_t *index);

/**
 * Adds a sender: it is ready when its channel has room.
 */
faretra_code faretra_select_send(faretra_select *select, faretra_sender *sender, size_t *index);

/**
 * Adds a subscriber. It is ready when there is an item at the position that it has when it is added: add it anew once it has read.
 */
faretra_code faretra_select_next(faretra_select *select,
                                 faretra_subscriber *subscriber,
                                 size_t *index);

/**
 * Adds an event.
 */
faretra_code faretra_select_event(faretra_select *select, faretra_event *event, size_t *index);

/**
 * Adds a name: it is ready when it stands for a version above `newer_than`.
 */
faretra_code faretra_select_name(faretra_select *select,
                                 faretra_arena *arena,
                                 const char *name,
                                 uint64_t newer_than,
                                 size_t *index);

/**
 * Takes out what was added under this number. The numbers of the others stay.
 */
faretra_code faretra_select_remove(faretra_select *select, size_t index);

/**
 * Waits until one of the things is ready, and tells which. It is a hint, as nothing is taken: another process may be faster. So make
 * the call with a timeout of 0, and wait again if that finds nothing.
 */
faretra_code faretra_select_wait(faretra_select *select,
                                 int64_t timeout_ms,
                                 size_t *index);

/**
 * Frees a select.
 */
void faretra_select_free(faretra_select *select);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FARETRA_H */
