/* What the examples share: calls that must succeed, facts that must hold, and a batch made by hand. C and C++. */
#ifndef COMMON_H
#define COMMON_H

#include <faretra.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A call that must succeed. */
#define TRY(call)                                                                                      \
  do {                                                                                                 \
    faretra_code code_ = (call);                                                                       \
    if (code_ != FARETRA_OK) {                                                                         \
      fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call, faretra_code_name(code_),      \
              faretra_last_error()->message);                                                          \
      exit(1);                                                                                         \
    }                                                                                                  \
  } while (0)

/* A call that must fail with this code, and say so in the last error. */
#define FAILS(expected, call)                                                                          \
  do {                                                                                                 \
    faretra_code code_ = (call);                                                                       \
    if (code_ != (expected) || faretra_last_error()->code != (expected)) {                             \
      fprintf(stderr, "%s:%d: %s: %s, not %s: %s\n", __FILE__, __LINE__, #call,                        \
              faretra_code_name(code_), #expected, faretra_last_error()->message);                     \
      exit(1);                                                                                         \
    }                                                                                                  \
  } while (0)

/* A fact. */
#define HOLDS(fact)                                                                                    \
  do {                                                                                                 \
    if (!(fact)) {                                                                                     \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #fact);                                       \
      exit(1);                                                                                         \
    }                                                                                                  \
  } while (0)

/* How long a wait may take that is expected to end: a deadline for the tests, and not a measure. */
#define SOON 60000

/* Arenas of the examples are small, so that they can be looked at with valgrind, which has not much address space. */
static inline faretra_options small_arena(void) {
  faretra_options options = FARETRA_OPTIONS;
  options.limit = 64u << 20;
  options.capacity = 256u << 20;
  options.ephemeral = 1;
  return options;
}

/* How often a structure of `numbers` was released. */
static int released;

struct memory {
  const void *buffers[1];
  const void *column_buffers[2];
  struct ArrowArray column;
  struct ArrowArray *children[1];
};

static inline void release_array(struct ArrowArray *array) {
  struct memory *memory = (struct memory *)array->private_data;
  if (memory->column.release) memory->column.release(&memory->column);
  free((void *)memory->column_buffers[1]);
  free(memory);
  array->release = NULL;
  released++;
}

static inline void release_column(struct ArrowArray *column) { column->release = NULL; }

/* A batch of one column `id` of `rows` numbers from `first` on, as a program makes it that knows nothing of the library. */
static inline void numbers(int64_t first, int64_t rows, struct ArrowArray *array) {
  struct memory *memory = (struct memory *)calloc(1, sizeof *memory);
  int64_t *ids = (int64_t *)malloc((size_t)rows * sizeof *ids);
  int64_t i;
  HOLDS(memory && ids);
  for (i = 0; i < rows; i++) ids[i] = first + i;
  memory->column_buffers[1] = ids;
  memory->column.length = rows;
  memory->column.n_buffers = 2;
  memory->column.buffers = memory->column_buffers;
  memory->column.release = release_column;
  memory->children[0] = &memory->column;
  memset(array, 0, sizeof *array);
  array->length = rows;
  array->n_buffers = 1;
  array->n_children = 1;
  array->buffers = memory->buffers;
  array->children = memory->children;
  array->release = release_array;
  array->private_data = memory;
}

static inline void release_schema(struct ArrowSchema *schema) {
  schema->release = NULL;
  released++;
}

/* Its schema, which lies in static memory. */
static inline void numbers_schema(struct ArrowSchema *schema) {
  static struct ArrowSchema column, *children[1];
  memset(&column, 0, sizeof column);
  memset(schema, 0, sizeof *schema);
  column.format = "l";
  column.name = "id";
  column.release = release_schema;
  children[0] = &column;
  schema->format = "+s";
  schema->name = "";
  schema->n_children = 1;
  schema->children = children;
  schema->release = release_schema;
}

/* The sum of the only column of a batch of `numbers`. */
static inline int64_t sum_of(const struct ArrowArray *array) {
  const struct ArrowArray *column = array->children[0];
  const int64_t *ids = (const int64_t *)column->buffers[1] + column->offset;
  int64_t i, sum = 0;
  for (i = 0; i < column->length; i++) sum += ids[i];
  return sum;
}

/* Whether an address lies in a shared map of a file that cannot be written, as an arena's data is mapped. */
static inline int is_shared_read_only(const void *address) {
  char line[512], perms[8];
  int found = 0;
  FILE *maps = fopen("/proc/self/maps", "r");
  HOLDS(maps);
  while (fgets(line, sizeof line, maps)) {
    uintptr_t from, to;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from, &to, perms) == 3 && (uintptr_t)address >= from &&
        (uintptr_t)address < to)
      found = strncmp(perms, "r--s", 4) == 0;
  }
  fclose(maps);
  return found;
}

#endif
