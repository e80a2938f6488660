/* Random events of VMs, migrations and users against a model of what the protocol says must follow. */
#include <criterion/criterion.h>

#include "model_run.h"

enum { SHORT_MS = 10000 };

Test(model, random_events_have_the_consequences_that_the_protocol_says, .timeout = 3600)
{
    model_run(VSPCD, 0, SHORT_MS, false);
}
