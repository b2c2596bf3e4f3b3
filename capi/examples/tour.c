/* Everything once, in one process: what goes in comes out, from the arena's own memory, and what is held can be released in any
 * order. */
#include "common.h"
#include <poll.h>

static const char *name;
static faretra_arena *arena;
static faretra_writer *writer;

static void batches(void) {
  struct ArrowArray array, got, moved;
  struct ArrowSchema schema, got_schema;
  struct ArrowArrayStream stream;
  faretra_object *object;
  faretra_info info;
  uint64_t version = 0;
  int n = 0;

  numbers(100, 50000, &array);
  numbers_schema(&schema);
  TRY(faretra_publish(writer, "ids", faretra_value_batch(&array, &schema), &version));
  HOLDS(version == 1 && released == 0 && array.release && schema.release);
  HOLDS(!is_shared_read_only(array.children[0]->buffers[1]));
  FAILS(FARETRA_CONFLICT, faretra_publish_if(writer, "ids", 7, faretra_value_batch(&array, &schema), NULL));
  HOLDS(faretra_last_error()->asked == 7 && faretra_last_error()->found == 1);
  TRY(faretra_publish_if(writer, "ids", 1, faretra_value_batch(&array, &schema), &version));
  HOLDS(version == 2 && released == 0);
  {
    /* A slice is what it shows: of a struct with an offset, and of a column with one. */
    struct ArrowArray slice = array, column = *array.children[0], *columns[1] = {&column}, part;
    slice.offset = 10, slice.length = 5, slice.children = columns;
    column.offset = 1, column.length -= 1;
    TRY(faretra_publish(writer, "slice", faretra_value_batch(&slice, &schema), NULL));
    TRY(faretra_get_batch(arena, "slice", &part, NULL));
    HOLDS(part.length == 5 && part.offset == 0 && sum_of(&part) == 111 + 112 + 113 + 114 + 115);
    part.release(&part);
  }
  array.release(&array);
  schema.release(&schema);
  HOLDS(released == 2);

  /* The columns lie in the arena, where nobody can write; what was published did not. */
  TRY(faretra_get_batch(arena, "ids", &got, &got_schema));
  HOLDS(got.length == 50000 && got.n_children == 1 && strcmp(got_schema.format, "+s") == 0);
  HOLDS(strcmp(got_schema.children[0]->name, "id") == 0 && strcmp(got_schema.children[0]->format, "l") == 0);
  HOLDS(is_shared_read_only(got.children[0]->buffers[1]));
  HOLDS(sum_of(&got) == INT64_C(50000) * 100 + INT64_C(50000) * 49999 / 2);

  /* What was read is shared when it is published again: the same memory under two names. */
  TRY(faretra_publish(writer, "alias", faretra_value_batch(&got, &got_schema), NULL));
  got_schema.release(&got_schema);
  HOLDS(!got_schema.release);
  {
    struct ArrowArray alias;
    TRY(faretra_get_batch(arena, "alias", &alias, NULL));
    HOLDS(alias.children[0]->buffers[1] == got.children[0]->buffers[1]);
    alias.release(&alias);
  }

  /* A child can be moved out, and outlives the batch, its name and the publishing of another version. */
  moved = *got.children[0];
  got.children[0]->release = NULL;
  got.release(&got);
  HOLDS(!got.release);
  TRY(faretra_remove(writer, "alias"));
  TRY(faretra_publish(writer, "ids", faretra_value_bytes("other", 5), NULL));
  HOLDS(((const int64_t *)moved.buffers[1])[49999] == 50099);
  moved.release(&moved);

  /* A table, through a stream that goes in and one that comes out. */
  numbers(0, 1000, &array);
  numbers_schema(&schema);
  TRY(faretra_publish(writer, "one", faretra_value_batch(&array, &schema), NULL));
  array.release(&array);
  schema.release(&schema);
  TRY(faretra_get_stream(arena, "one", &stream));
  TRY(faretra_publish(writer, "table", faretra_value_stream(&stream), NULL));
  HOLDS(stream.release);
  stream.release(&stream);
  TRY(faretra_get(arena, "table", &object));
  TRY(faretra_object_info(object, &info));
  HOLDS(info.kind == FARETRA_KIND_TABLE && info.rows == 1000 && info.version > 0 && info.published_ns > 0);
  HOLDS(strcmp(faretra_object_name(object), "table") == 0);
  TRY(faretra_object_stream(object, &stream));
  faretra_object_free(object);
  HOLDS(stream.get_schema(&stream, &schema) == 0);
  schema.release(&schema);
  for (;;) {
    HOLDS(stream.get_next(&stream, &got) == 0);
    if (!got.release) break;
    HOLDS(sum_of(&got) == 499500);
    got.release(&got);
    n++;
  }
  HOLDS(n == 1);
  stream.release(&stream);
  FAILS(FARETRA_MISMATCH, faretra_get_batch(arena, "table", &got, NULL));
}

static void arrays(void) {
  const float matrix[2][3] = {{1, 2, 3}, {4, 5, 6}};
  const int64_t shape[2] = {2, 3}, turned[2] = {3, 2}, steps[2] = {4, 12}, back[1] = {-4}, three[1] = {3};
  faretra_object *object, *member;
  faretra_ndarray array;
  const char *names[2] = {"matrix", "label"};
  faretra_value values[2];
  const void *data;
  size_t len;

  TRY(faretra_publish(writer, "matrix", faretra_value_array("<f4", 2, shape, NULL, matrix), NULL));
  TRY(faretra_get(arena, "matrix", &object));
  TRY(faretra_object_array(object, &array));
  HOLDS(array.rank == 2 && array.shape[0] == 2 && array.shape[1] == 3 && strcmp(array.dtype, "<f4") == 0);
  HOLDS(array.strides[0] == 12 && array.strides[1] == 4 && array.nbytes == 24);
  HOLDS(memcmp(array.data, matrix, sizeof matrix) == 0 && is_shared_read_only(array.data));
  /* The object as a value: a second name for it, and no copy. */
  TRY(faretra_publish(writer, "same", faretra_value_object(object), NULL));
  {
    faretra_object *same;
    faretra_ndarray again;
    TRY(faretra_get(arena, "same", &same));
    TRY(faretra_object_array(same, &again));
    HOLDS(again.data == array.data);
    faretra_object_free(same);
  }
  faretra_object_free(object);

  /* Transposed, which is Fortran order; and backwards. */
  TRY(faretra_publish(writer, "turned", faretra_value_array("<f4", 2, turned, steps, matrix), NULL));
  TRY(faretra_get(arena, "turned", &object));
  TRY(faretra_object_array(object, &array));
  HOLDS(array.shape[0] == 3 && array.strides[0] == 4 && array.strides[1] == 12);
  faretra_object_free(object);
  TRY(faretra_publish(writer, "back", faretra_value_array("<f4", 1, three, back, &matrix[0][2]), NULL));
  TRY(faretra_get(arena, "back", &object));
  TRY(faretra_object_array(object, &array));
  HOLDS(((const float *)array.data)[0] == 3 && ((const float *)array.data)[2] == 1);
  faretra_object_free(object);

  /* Several at once. */
  values[0] = faretra_value_array("<f4", 2, shape, NULL, matrix);
  values[1] = faretra_value_bytes("a label", 7);
  TRY(faretra_publish(writer, "bundle", faretra_value_bundle(2, names, values), NULL));
  TRY(faretra_get(arena, "bundle", &object));
  TRY(faretra_object_member(object, "label", &member));
  faretra_object_free(object);
  TRY(faretra_object_bytes(member, &data, &len));
  HOLDS(len == 7 && memcmp(data, "a label", 7) == 0);
  faretra_object_free(member);
}

static void drafts(void) {
  faretra_draft *draft;
  faretra_object *object;
  faretra_ndarray array;
  struct ArrowSchema schema, column[3], *columns[3] = {&column[0], &column[1], &column[2]};
  struct ArrowArray got;
  const int64_t shape[1] = {4};
  void *data;
  const void *read;
  size_t len, room[3] = {0, 100, 0};
  faretra_stats before, after;

  TRY(faretra_draft_bytes(writer, 5, &draft, &data));
  memcpy(data, "draft", 5);
  TRY(faretra_publish(writer, "draft", faretra_value_draft(draft), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "draft", faretra_value_draft(draft), NULL));
  faretra_draft_free(draft);
  TRY(faretra_get(arena, "draft", &object));
  TRY(faretra_object_bytes(object, &read, &len));
  HOLDS(len == 5 && memcmp(read, "draft", 5) == 0);
  faretra_object_free(object);

  TRY(faretra_draft_array(writer, "<i4", 1, shape, 0, &draft, &data));
  ((int32_t *)data)[0] = 10, ((int32_t *)data)[1] = 20, ((int32_t *)data)[2] = 30, ((int32_t *)data)[3] = 40;
  TRY(faretra_publish(writer, "draft", faretra_value_draft(draft), NULL));
  faretra_draft_free(draft);
  TRY(faretra_get(arena, "draft", &object));
  TRY(faretra_object_array(object, &array));
  HOLDS(((const int32_t *)array.data)[3] == 40);
  faretra_object_free(object);

  /* A batch: numbers, text and booleans, some of them null. */
  numbers_schema(&schema);
  column[0] = column[1] = column[2] = *schema.children[0];
  column[1].format = "u", column[1].name = "city", column[1].flags = ARROW_FLAG_NULLABLE;
  column[2].format = "b", column[2].name = "late", column[2].flags = ARROW_FLAG_NULLABLE;
  schema.n_children = 3;
  schema.children = columns;
  TRY(faretra_draft_batch(writer, &schema, 3, room, &draft));
  TRY(faretra_draft_column(draft, "id", &data, &len));
  HOLDS(len == 24);
  ((int64_t *)data)[0] = 1, ((int64_t *)data)[1] = 2, ((int64_t *)data)[2] = 3;
  FAILS(FARETRA_NOT_FOUND, faretra_draft_column(draft, "none", &data, NULL));
  FAILS(FARETRA_MISMATCH, faretra_draft_column(draft, "city", &data, NULL));
  TRY(faretra_draft_push(draft, "city", "Bern", 4));
  TRY(faretra_draft_push(draft, "city", NULL, 0));
  FAILS(FARETRA_INVALID, faretra_draft_push(draft, "city", "\xff", 1));
  TRY(faretra_draft_push(draft, "city", "", 0));
  FAILS(FARETRA_INVALID, faretra_draft_push(draft, "city", "more", 4));
  TRY(faretra_draft_set_bool(draft, "late", 1, 1));
  TRY(faretra_draft_set_null(draft, "late", 2));
  FAILS(FARETRA_INVALID, faretra_draft_set_bool(draft, "late", 3, 1));
  TRY(faretra_publish(writer, "draft", faretra_value_draft(draft), NULL));
  faretra_draft_free(draft);
  TRY(faretra_get_batch(arena, "draft", &got, NULL));
  HOLDS(got.length == 3 && sum_of(&got) == 6);
  HOLDS(got.children[1]->null_count == 1 && memcmp(got.children[1]->buffers[2], "Bern", 4) == 0);
  HOLDS((((const uint8_t *)got.children[2]->buffers[1])[0] & 7) == 2 && got.children[2]->null_count == 1);
  got.release(&got);

  /* A draft that is freed leaves nothing behind. */
  TRY(faretra_arena_trim(arena, NULL));
  TRY(faretra_arena_stats(arena, &before));
  TRY(faretra_draft_bytes(writer, 4 << 20, &draft, &data));
  TRY(faretra_arena_stats(arena, &after));
  HOLDS(after.live >= before.live + (4 << 20));
  faretra_draft_free(draft);
  TRY(faretra_arena_stats(arena, &after));
  HOLDS(after.live == before.live && after.objects == before.objects);
}

static void channels(void) {
  faretra_sender *jobs, *done;
  faretra_receiver *receiver;
  faretra_lease *lease;
  faretra_draft *draft;
  faretra_pollable *pollable;
  faretra_select *select;
  struct pollfd fd;
  size_t first, second, index;
  const void *data;
  void *fill;
  size_t len;
  int ready;

  TRY(faretra_sender_new(writer, "jobs", 2, 0, &jobs));
  TRY(faretra_sender_new(writer, "done", 1, FARETRA_MIXED, &done));
  TRY(faretra_receiver_new(arena, "jobs", 0, FARETRA_STAY, &receiver));
  FAILS(FARETRA_TIMED_OUT, faretra_recv(receiver, 0, &lease));
  HOLDS(!lease);
  FAILS(FARETRA_TIMED_OUT, faretra_recv(receiver, 10, &lease));

  TRY(faretra_receiver_pollable(receiver, &pollable));
  fd.fd = faretra_pollable_fd(pollable);
  fd.events = POLLIN;
  HOLDS(fd.fd >= 0);
  TRY(faretra_pollable_rearm(pollable, &ready));
  HOLDS(!ready);
  TRY(faretra_select_new(&select));
  TRY(faretra_select_send(select, done, &first));
  TRY(faretra_select_recv(select, receiver, &second));
  TRY(faretra_select_wait(select, SOON, &index));
  HOLDS(index == first);
  TRY(faretra_select_remove(select, first));
  FAILS(FARETRA_TIMED_OUT, faretra_select_wait(select, 0, &index));

  /* A full channel refuses a draft and leaves it to be sent again. */
  TRY(faretra_send(jobs, faretra_value_bytes("one", 3), FARETRA_FOREVER));
  TRY(faretra_send(jobs, faretra_value_bytes("two", 3), SOON));
  TRY(faretra_draft_bytes(writer, 5, &draft, &fill));
  memcpy(fill, "three", 5);
  FAILS(FARETRA_TIMED_OUT, faretra_send(jobs, faretra_value_draft(draft), 0));
  FAILS(FARETRA_TIMED_OUT, faretra_send(jobs, faretra_value_draft(draft), 5));
  HOLDS(poll(&fd, 1, SOON) == 1);
  TRY(faretra_select_wait(select, SOON, &index));
  HOLDS(index == second);

  /* Given back, it comes again, and says so; acknowledged, it does not. */
  TRY(faretra_recv(receiver, SOON, &lease));
  HOLDS(faretra_lease_attempts(lease) == 0);
  TRY(faretra_object_bytes(faretra_lease_object(lease), &data, &len));
  HOLDS(len == 3 && memcmp(data, "one", 3) == 0);
  faretra_lease_nack(lease);
  TRY(faretra_recv(receiver, SOON, &lease));
  TRY(faretra_object_bytes(faretra_lease_object(lease), &data, &len));
  HOLDS(memcmp(data, "one", 3) == 0 && faretra_lease_attempts(lease) == 1);

  /* Forwarded, in one step; refused, it is still leased. */
  TRY(faretra_send(done, faretra_value_bytes("full", 4), 0));
  FAILS(FARETRA_TIMED_OUT, faretra_lease_forward(lease, done, 0));
  TRY(faretra_object_bytes(faretra_lease_object(lease), &data, &len));
  HOLDS(memcmp(data, "one", 3) == 0);
  faretra_lease_ack(lease);
  TRY(faretra_send(jobs, faretra_value_draft(draft), SOON));
  faretra_draft_free(draft);
  {
    faretra_receiver *last;
    TRY(faretra_receiver_new(arena, "done", 0, 0, &last));
    TRY(faretra_recv(last, 0, &lease));
    faretra_lease_ack(lease);
    TRY(faretra_recv(receiver, SOON, &lease));
    TRY(faretra_lease_forward(lease, done, SOON));
    TRY(faretra_recv(last, SOON, &lease));
    TRY(faretra_object_bytes(faretra_lease_object(lease), &data, &len));
    HOLDS(len == 3 && memcmp(data, "two", 3) == 0);
    faretra_lease_ack(lease);
    faretra_sender_free(done);
    FAILS(FARETRA_DESERTED, faretra_recv(last, SOON, &lease));
    faretra_receiver_free(last);
  }
  TRY(faretra_recv(receiver, SOON, &lease));
  TRY(faretra_object_bytes(faretra_lease_object(lease), &data, &len));
  HOLDS(len == 5 && memcmp(data, "three", 5) == 0);
  faretra_lease_ack(lease);
  TRY(faretra_sender_close(jobs));
  FAILS(FARETRA_CLOSED, faretra_recv(receiver, FARETRA_FOREVER, &lease));
  FAILS(FARETRA_CLOSED, faretra_send(jobs, faretra_value_bytes("late", 4), FARETRA_FOREVER));
  faretra_pollable_free(pollable);
  faretra_select_free(select);
  faretra_receiver_free(receiver);
  faretra_sender_free(jobs);
}

static void feeds(void) {
  faretra_feed *feed;
  faretra_subscriber *first, *second;
  faretra_event *event;
  faretra_select *select;
  faretra_pollable *pollables[3];
  faretra_object *object;
  size_t rings, named, index;
  char tick = 'a';
  const void *data;
  size_t len;

  FAILS(FARETRA_NOT_FOUND, faretra_subscribe(arena, "ticks", FARETRA_OLDEST, 0, 0, &first));
  TRY(faretra_feed_new(writer, "ticks", 4, FARETRA_DROP_OLDEST, 0, &feed));
  TRY(faretra_subscribe(arena, "ticks", FARETRA_OLDEST, 0, 0, &first));
  for (; tick < 'g'; tick++) TRY(faretra_append(feed, faretra_value_bytes(&tick, 1), SOON));
  TRY(faretra_subscribe(arena, "ticks", FARETRA_NEWEST, 0, 0, &second));
  FAILS(FARETRA_TIMED_OUT, faretra_next(second, 0, &object));

  /* What is waited for at once: an item, an event, a name. */
  TRY(faretra_event_new(arena, "bell", 0, &event));
  TRY(faretra_select_new(&select));
  TRY(faretra_select_next(select, second, NULL));
  TRY(faretra_select_event(select, event, &rings));
  TRY(faretra_select_name(select, arena, "new name", 0, &named));
  FAILS(FARETRA_TIMED_OUT, faretra_select_wait(select, 5, &index));
  TRY(faretra_event_pollable(event, &pollables[0]));
  TRY(faretra_name_pollable(arena, "new name", 0, &pollables[1]));
  TRY(faretra_subscriber_pollable(first, &pollables[2]));
  TRY(faretra_event_set(event));
  TRY(faretra_select_wait(select, SOON, &index));
  HOLDS(index == rings);
  TRY(faretra_event_reset(event));
  TRY(faretra_publish(writer, "new name", faretra_value_bytes("x", 1), NULL));
  TRY(faretra_select_wait(select, SOON, &index));
  HOLDS(index == named);
  TRY(faretra_event_set(event));
  for (index = 0; index < 3; index++) {
    struct pollfd fd = {faretra_pollable_fd(pollables[index]), POLLIN, 0};
    HOLDS(poll(&fd, 1, SOON) == 1);
    faretra_pollable_free(pollables[index]);
  }
  faretra_select_free(select);
  faretra_event_free(event);

  FAILS(FARETRA_LAGGED, faretra_next(first, SOON, &object));
  HOLDS(faretra_last_error()->found == 2);
  TRY(faretra_next(first, SOON, &object));
  TRY(faretra_object_bytes(object, &data, &len));
  HOLDS(*(const char *)data == 'c');
  faretra_object_free(object);
  TRY(faretra_feed_close(feed));
  FAILS(FARETRA_CLOSED, faretra_next(second, SOON, &object));
  faretra_subscriber_free(first);
  faretra_subscriber_free(second);
  faretra_feed_free(feed);
}

static void locks(void) {
  faretra_mutex *mutex, *other;
  faretra_semaphore *permits;
  faretra_event *event;
  uint32_t left;
  int recovered = 1;

  TRY(faretra_mutex_new(arena, "lock", &mutex));
  TRY(faretra_mutex_new(arena, "lock", &other));
  TRY(faretra_mutex_lock(mutex, FARETRA_FOREVER, &recovered));
  HOLDS(!recovered);
  FAILS(FARETRA_TIMED_OUT, faretra_mutex_lock(other, 0, NULL));
  FAILS(FARETRA_TIMED_OUT, faretra_mutex_lock(mutex, 5, NULL));
  FAILS(FARETRA_INVALID, faretra_mutex_unlock(other));
  TRY(faretra_mutex_mark_consistent(mutex));
  TRY(faretra_mutex_unlock(mutex));
  FAILS(FARETRA_INVALID, faretra_mutex_unlock(mutex));
  TRY(faretra_mutex_lock(other, 0, NULL));
  faretra_mutex_free(other);
  TRY(faretra_mutex_lock(mutex, SOON, NULL));
  faretra_mutex_free(mutex);

  TRY(faretra_semaphore_new(arena, "permits", 2, &permits));
  TRY(faretra_semaphore_acquire(permits, 0, NULL));
  TRY(faretra_semaphore_acquire(permits, 0, NULL));
  FAILS(FARETRA_TIMED_OUT, faretra_semaphore_acquire(permits, 5, NULL));
  TRY(faretra_semaphore_release(permits));
  TRY(faretra_semaphore_available(permits, &left));
  HOLDS(left == 1);
  faretra_semaphore_free(permits);

  TRY(faretra_event_new(arena, "event", 1, &event));
  FAILS(FARETRA_TIMED_OUT, faretra_event_wait(event, 0));
  TRY(faretra_event_set(event));
  TRY(faretra_event_wait(event, FARETRA_FOREVER));
  FAILS(FARETRA_TIMED_OUT, faretra_event_wait(event, 5));
  TRY(faretra_event_set(event));
  TRY(faretra_event_reset(event));
  FAILS(FARETRA_TIMED_OUT, faretra_event_wait(event, 0));
  faretra_event_free(event);
}

static int asked;

static int ends_waits(void *context) {
  asked++;
  return *(int *)context;
}

static void names(void) {
  faretra_entries *entries;
  faretra_entry entry;
  faretra_object *object;
  faretra_sender *sender;
  faretra_receiver *receiver;
  faretra_lease *lease;
  size_t i;
  uint32_t dead;
  int tables = 0, yes = 1;

  TRY(faretra_names(arena, &entries));
  HOLDS(faretra_entries_count(entries) > 5);
  for (i = 0; i < faretra_entries_count(entries); i++) {
    TRY(faretra_entries_get(entries, i, &entry));
    if (strcmp(entry.name, "table") == 0) tables += entry.kind == FARETRA_KIND_TABLE && entry.rows == 1000;
  }
  HOLDS(tables == 1);
  FAILS(FARETRA_INVALID, faretra_entries_get(entries, i, &entry));
  faretra_entries_free(entries);

  FAILS(FARETRA_TIMED_OUT, faretra_wait_for(arena, "matrix", 1000, 5, &object));
  TRY(faretra_wait_for(arena, "matrix", 0, FARETRA_FOREVER, &object));
  faretra_object_free(object);
  TRY(faretra_remove(writer, "matrix"));
  FAILS(FARETRA_NOT_FOUND, faretra_remove(writer, "matrix"));
  FAILS(FARETRA_NOT_FOUND, faretra_get(arena, "matrix", &object));
  HOLDS(!object);

  TRY(faretra_sender_new(writer, "never", 1, 0, &sender));
  TRY(faretra_receiver_new(arena, "never", 0, 0, &receiver));
  faretra_set_interrupt_hook(ends_waits, &yes);
  FAILS(FARETRA_INTERRUPTED, faretra_recv(receiver, FARETRA_FOREVER, &lease));
  faretra_set_interrupt_hook(NULL, NULL);
  HOLDS(asked > 0);
  faretra_receiver_free(receiver);
  faretra_sender_free(sender);

  TRY(faretra_arena_recover(arena, &dead));
  HOLDS(dead == 0);
  TRY(faretra_arena_verify(arena));
  TRY(faretra_arena_set_limit(arena, 16 << 20));
  {
    faretra_draft *draft;
    void *data;
    FAILS(FARETRA_NO_SPACE, faretra_draft_bytes(writer, 32 << 20, &draft, &data));
    HOLDS(!draft && faretra_last_error()->asked >= 32 << 20 && faretra_last_error()->found < 16 << 20);
  }
}

int main(int argc, char **argv) {
  faretra_options options = small_arena();
  faretra_arena *again;
  struct ArrowArray last;
  struct ArrowArray array;
  struct ArrowSchema schema;

  name = argc > 1 ? argv[1] : "tour-c";
  HOLDS(faretra_last_error()->code == FARETRA_OK);
  TRY(faretra_arena_create(name, &options, &arena));
  FAILS(FARETRA_ALREADY_EXISTS, faretra_arena_create(name, &options, &again));
  HOLDS(!again);
  TRY(faretra_arena_open_or_create(name, &options, &again));
  TRY(faretra_writer_new(again, SOON, &writer));
  batches();
  arrays();
  drafts();
  channels();
  feeds();
  locks();
  names();

  /* Handles go in any order: what was exported keeps the arena. */
  numbers(5, 1, &array);
  numbers_schema(&schema);
  TRY(faretra_publish(writer, "last", faretra_value_batch(&array, &schema), NULL));
  array.release(&array);
  schema.release(&schema);
  TRY(faretra_get_batch(arena, "last", &last, NULL));
  faretra_arena_free(arena);
  faretra_arena_free(again);
  faretra_writer_free(writer);
  HOLDS(sum_of(&last) == 5);
  last.release(&last);
  FAILS(FARETRA_NOT_FOUND, faretra_arena_open(name, NULL, &arena));
  puts("the tour is over");
  return 0;
}
