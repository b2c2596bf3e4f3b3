/* Wrong input of every kind that can be known: each is an error with a text, and nothing else happens. */
#include "common.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int seen;

/* Waits at a subscriber until somebody else saw that. */
static void *is_busy(void *subscriber) {
  while (!seen) {
    faretra_object *object;
    faretra_code code = faretra_next((faretra_subscriber *)subscriber, 100, &object);
    HOLDS(code == FARETRA_TIMED_OUT || code == FARETRA_INVALID);
  }
  return NULL;
}

static const char *text(void) { return faretra_last_error()->message; }

static int get_schema_fails(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
  (void)stream, (void)out;
  return 5;
}
static int get_next_fails(struct ArrowArrayStream *stream, struct ArrowArray *out) {
  (void)stream, (void)out;
  return 5;
}
static int get_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
  (void)stream;
  numbers_schema(out);
  return 0;
}
static const char *why(struct ArrowArrayStream *stream) {
  (void)stream;
  return "the disk is on fire";
}
static void release_stream(struct ArrowArrayStream *stream) { stream->release = NULL; }

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "wrong-c";
  faretra_options options = small_arena();
  faretra_arena *arena, *none;
  faretra_writer *writer;
  faretra_object *object;
  faretra_sender *sender;
  faretra_feed *feed;
  faretra_subscriber *subscriber;
  faretra_mutex *mutex;
  faretra_draft *draft;
  faretra_value value;
  struct ArrowArray array, broken;
  struct ArrowSchema schema, odd;
  struct ArrowArrayStream stream;
  const int64_t negative[2] = {2, -3}, huge[2] = {INT64_MAX, INT64_MAX}, two[1] = {2}, far[1] = {INT64_MAX};
  const double numbers_of_c[2] = {1, 2};
  pthread_t thread;
  const void *data;
  void *fill;
  size_t len;
  char long_name[400];

  /* Null pointers: of text, of handles, of places for results. */
  FAILS(FARETRA_INVALID, faretra_arena_open(NULL, NULL, &arena));
  HOLDS(strstr(text(), "name") && !arena);
  FAILS(FARETRA_INVALID, faretra_arena_open(name, NULL, NULL));
  FAILS(FARETRA_INVALID, faretra_writer_new(NULL, 0, &writer));
  HOLDS(strstr(text(), "faretra_arena") && !writer);
  FAILS(FARETRA_INVALID, faretra_arena_stats(NULL, NULL));
  faretra_arena_free(NULL);
  faretra_lease_ack(NULL);
  HOLDS(faretra_lease_object(NULL) == NULL && faretra_pollable_fd(NULL) == -1 && faretra_entries_count(NULL) == 0);

  /* Names and options. */
  FAILS(FARETRA_INVALID, faretra_arena_create("", &options, &arena));
  FAILS(FARETRA_INVALID, faretra_arena_create("a/b", &options, &arena));
  FAILS(FARETRA_INVALID, faretra_arena_create("\xff\xfe", &options, &arena));
  HOLDS(strstr(text(), "UTF-8"));
  options.size = 8;
  FAILS(FARETRA_INVALID, faretra_arena_create(name, &options, &arena));
  options.size = sizeof options;
  options.writers = 100000;
  FAILS(FARETRA_INVALID, faretra_arena_create(name, &options, &arena));
  options.writers = 0;
  options.dir = "/no/such/directory";
  FAILS(FARETRA_OS, faretra_arena_create(name, &options, &arena));
  HOLDS(faretra_last_error()->os_error == 2);
  options.dir = NULL;
  FAILS(FARETRA_NOT_FOUND, faretra_arena_open(name, &options, &arena));

  TRY(faretra_arena_create(name, &options, &arena));
  TRY(faretra_writer_new(arena, SOON, &writer));

  /* Handles of another kind, which only a cast or another language can give. */
  FAILS(FARETRA_INVALID, faretra_writer_new((faretra_arena *)writer, 0, (faretra_writer **)&none));
  HOLDS(strstr(text(), "another kind"));
  faretra_arena_free((faretra_arena *)writer);
  TRY(faretra_publish(writer, "still", faretra_value_bytes("here", 4), NULL));
  memset(long_name, 'n', sizeof long_name);
  FAILS(FARETRA_INVALID, faretra_writer_new((faretra_arena *)(void *)long_name, 0, (faretra_writer **)&none));

  /* Names of objects. */
  long_name[399] = 0;
  FAILS(FARETRA_TOO_LARGE, faretra_publish(writer, long_name, faretra_value_bytes("x", 1), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "", faretra_value_bytes("x", 1), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, NULL, faretra_value_bytes("x", 1), NULL));

  /* Values. */
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_bytes(NULL, 1), NULL));
  TRY(faretra_publish(writer, "empty", faretra_value_bytes(NULL, 0), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_bytes("x", SIZE_MAX), NULL));
  memset(&value, 0, sizeof value);
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", value, NULL));
  memset(&value, 0x77, sizeof value);
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", value, NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_object(NULL), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_draft(NULL), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_object((faretra_object *)writer), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_bundle(2, NULL, NULL), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_array("<f8", 2, negative, NULL, numbers_of_c), NULL));
  HOLDS(strstr(text(), "-3"));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_array("<f8", 2, huge, NULL, numbers_of_c), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_array("<f8", 1, two, far, numbers_of_c), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_array("<f8", 1, NULL, NULL, numbers_of_c), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_array("<f8", 1, two, NULL, NULL), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_array("double", 1, two, NULL, numbers_of_c), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_array(NULL, 1, two, NULL, numbers_of_c), NULL));

  /* Arrow's structures: released, cut, of another type, with impossible numbers. */
  numbers(0, 10, &array);
  numbers_schema(&schema);
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(NULL, &schema), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&array, NULL), NULL));
  odd = schema;
  odd.release = NULL;
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&array, &odd), NULL));
  odd = schema;
  odd.format = NULL;
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&array, &odd), NULL));
  odd.format = "no such format";
  FAILS(FARETRA_ARROW, faretra_publish(writer, "x", faretra_value_batch(&array, &odd), NULL));
  odd.format = "\xff";
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&array, &odd), NULL));
  odd = *schema.children[0];
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&array, &odd), NULL));
  broken = array;
  broken.length = -1;
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&broken, &schema), NULL));
  broken = array;
  broken.offset = INT64_MAX;
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&broken, &schema), NULL));
  broken = array;
  broken.n_children = -1;
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&broken, &schema), NULL));
  broken = array;
  broken.children = NULL;
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&broken, &schema), NULL));
  broken = array;
  broken.buffers = NULL;
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&broken, &schema), NULL));
  {
    /* A column with fewer buffers than its type has. */
    struct ArrowArray column = *array.children[0], *columns[1] = {&column};
    column.n_buffers = 1;
    broken = array;
    broken.children = columns;
    FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&broken, &schema), NULL));
    /* A column that is shorter than the batch. */
    column = *array.children[0];
    column.length = 3;
    FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&broken, &schema), NULL));
  }
  array.release(&array);
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_batch(&array, &schema), NULL));

  memset(&stream, 0, sizeof stream);
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_stream(NULL), NULL));
  FAILS(FARETRA_INVALID, faretra_publish(writer, "x", faretra_value_stream(&stream), NULL));
  stream.get_schema = get_schema_fails;
  stream.get_next = get_next_fails;
  stream.get_last_error = why;
  stream.release = release_stream;
  FAILS(FARETRA_ARROW, faretra_publish(writer, "x", faretra_value_stream(&stream), NULL));
  stream.get_schema = get_schema;
  FAILS(FARETRA_ARROW, faretra_publish(writer, "x", faretra_value_stream(&stream), NULL));
  HOLDS(strstr(text(), "the disk is on fire") && stream.release);
  FAILS(FARETRA_NOT_FOUND, faretra_get(arena, "x", &object));

  /* Reading as what it is not. */
  TRY(faretra_get(arena, "still", &object));
  FAILS(FARETRA_MISMATCH, faretra_object_batch(object, &broken, NULL));
  FAILS(FARETRA_MISMATCH, faretra_object_stream(object, &stream));
  FAILS(FARETRA_MISMATCH, faretra_object_array(object, (faretra_ndarray *)(void *)long_name));
  FAILS(FARETRA_INVALID, faretra_object_bytes(object, NULL, &len));
  FAILS(FARETRA_INVALID, faretra_object_bytes(object, &data, NULL));
  FAILS(FARETRA_MISMATCH, faretra_get_stream(arena, "still", &stream));
  faretra_object_free(object);

  /* Numbers that are none. */
  FAILS(FARETRA_INVALID, faretra_wait_for(arena, "x", 0, -2, &object));
  HOLDS(strstr(text(), "FARETRA_FOREVER"));
  FAILS(FARETRA_INVALID, faretra_draft_array(writer, "<f8", 2, negative, 0, &draft, &fill));
  FAILS(FARETRA_TOO_LARGE, faretra_draft_bytes(writer, (size_t)1 << 40, &draft, &fill));
  FAILS(FARETRA_INVALID, faretra_draft_batch(writer, &schema, -1, NULL, &draft));
  FAILS(FARETRA_INVALID, faretra_sender_new(writer, "s", 1, 64, &sender));
  FAILS(FARETRA_INVALID, faretra_feed_new(writer, "f", 4, 9, 0, &feed));
  FAILS(FARETRA_INVALID, faretra_subscribe(arena, "f", -3, 0, 0, &subscriber));
  TRY(faretra_draft_bytes(writer, 1, &draft, &fill));
  FAILS(FARETRA_INVALID, faretra_draft_column(draft, "id", &fill, NULL));
  faretra_draft_free(draft);
  FAILS(FARETRA_MISMATCH, faretra_mutex_new(arena, "still", &mutex));

  /* The object of a lease goes with the lease, and not before. */
  {
    faretra_receiver *receiver;
    faretra_lease *lease;
    TRY(faretra_sender_new(writer, "jobs", 1, 0, &sender));
    TRY(faretra_send(sender, faretra_value_bytes("job", 3), 0));
    TRY(faretra_receiver_new(arena, "jobs", 0, 0, &receiver));
    TRY(faretra_recv(receiver, SOON, &lease));
    faretra_object_free(faretra_lease_object(lease));
    HOLDS(strstr(text(), "part of another handle"));
    TRY(faretra_object_bytes(faretra_lease_object(lease), &data, &len));
    HOLDS(len == 3 && memcmp(data, "job", 3) == 0);
    faretra_lease_ack(lease);
    faretra_receiver_free(receiver);
    faretra_sender_free(sender);
  }

  /* Two threads at one subscriber. */
  TRY(faretra_feed_new(writer, "f", 4, FARETRA_BLOCK, 0, &feed));
  TRY(faretra_subscribe(arena, "f", FARETRA_OLDEST, 0, 0, &subscriber));
  HOLDS(pthread_create(&thread, NULL, is_busy, subscriber) == 0);
  for (len = 0;; len++) {
    faretra_code code = faretra_next(subscriber, 0, &object);
    HOLDS(code == FARETRA_TIMED_OUT || code == FARETRA_INVALID);
    if (code == FARETRA_INVALID) break;
    HOLDS(len < SOON);
    usleep(1000);
  }
  HOLDS(strstr(text(), "one thread at a time"));
  seen = 1;
  pthread_join(thread, NULL);
  faretra_subscriber_free(subscriber);
  faretra_feed_free(feed);

  /* A child of fork is told so, takes nothing away by freeing, and takes part by itself. */
  fflush(NULL);
  {
    pid_t child = fork();
    int status;
    HOLDS(child >= 0);
    if (child == 0) {
      faretra_arena *own;
      FAILS(FARETRA_FORKED, faretra_get(arena, "still", &object));
      FAILS(FARETRA_FORKED, faretra_publish(writer, "x", faretra_value_bytes("x", 1), NULL));
      TRY(faretra_arena_reopen(arena, &own));
      TRY(faretra_get(own, "still", &object));
      faretra_object_free(object);
      faretra_writer_free(writer);
      faretra_arena_free(arena);
      faretra_arena_free(own);
      _exit(7);
    }
    HOLDS(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  }
  TRY(faretra_publish(writer, "still", faretra_value_bytes("fine", 4), NULL));
  TRY(faretra_arena_verify(arena));
  schema.release(&schema);
  faretra_writer_free(writer);
  faretra_arena_free(arena);
  puts("every wrong input was an error");
  return 0;
}
