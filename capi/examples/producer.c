/* Sends batches of numbers through a channel to whoever receives: producer ARENA BATCHES ROWS. */
#include "common.h"

int main(int argc, char **argv) {
  faretra_options options = small_arena();
  faretra_arena *arena;
  faretra_writer *writer;
  faretra_sender *sender;
  struct ArrowSchema schema;
  int64_t i, batches, rows;

  HOLDS(argc == 4);
  batches = atoll(argv[2]);
  rows = atoll(argv[3]);
  TRY(faretra_arena_open_or_create(argv[1], &options, &arena));
  TRY(faretra_writer_new(arena, SOON, &writer));
  TRY(faretra_sender_new(writer, "numbers", 4, FARETRA_STAY, &sender));
  numbers_schema(&schema);
  for (i = 0; i < batches; i++) {
    struct ArrowArray array;
    numbers(i * rows, rows, &array);
    TRY(faretra_send(sender, faretra_value_batch(&array, &schema), SOON));
    array.release(&array);
  }
  schema.release(&schema);
  TRY(faretra_sender_close(sender));

  /* An arena that nobody has open any more would be gone before the items are read. */
  {
    faretra_event *read;
    TRY(faretra_event_new(arena, "all read", 0, &read));
    TRY(faretra_event_wait(read, SOON));
    faretra_event_free(read);
  }
  faretra_sender_free(sender);
  faretra_writer_free(writer);
  faretra_arena_free(arena);
  return 0;
}
