/* The same as tests/integration/test_model.c, thousands of times. */
#include <criterion/criterion.h>

#include "model_run.h"

enum { SEQUENCES = 2000 };

Test(model_long, random_events_have_the_consequences_that_the_protocol_says, .timeout = 3600)
{
    model_run(VSPCD, SEQUENCES, 0, true);
}
