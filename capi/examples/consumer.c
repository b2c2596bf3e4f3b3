/* Receives what the producer sends, and says how much that was: consumer ARENA. The batches are read where they lie. */
#include "common.h"

int main(int argc, char **argv) {
  faretra_options options = small_arena();
  faretra_arena *arena;
  faretra_receiver *receiver;
  faretra_event *read;
  faretra_code code;
  int64_t rows = 0, sum = 0;

  HOLDS(argc == 2);
  TRY(faretra_arena_open_or_create(argv[1], &options, &arena));
  TRY(faretra_receiver_new(arena, "numbers", SOON, FARETRA_STAY, &receiver));
  for (;;) {
    faretra_lease *lease;
    struct ArrowArray array;
    code = faretra_recv(receiver, SOON, &lease);
    if (code == FARETRA_CLOSED) break;
    TRY(code);
    TRY(faretra_object_batch(faretra_lease_object(lease), &array, NULL));
    HOLDS(is_shared_read_only(array.children[0]->buffers[1]));
    rows += array.length;
    sum += sum_of(&array);
    array.release(&array);
    faretra_lease_ack(lease);
  }
  printf("%" PRId64 " rows, sum %" PRId64 "\n", rows, sum);
  TRY(faretra_event_new(arena, "all read", 0, &read));
  TRY(faretra_event_set(read));
  faretra_event_free(read);
  faretra_receiver_free(receiver);
  faretra_arena_free(arena);
  return 0;
}
