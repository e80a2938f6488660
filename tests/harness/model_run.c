#include "model_run.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { EVENTS_MAX = 48, STEPS_MIN = 20, STEPS_MAX = 60 };

static unsigned counts[EVENTS_MAX][MODEL_STATES];

/* One event, of those that may be, happens to a console. Result: whether it was one that is alone. */
static bool happen(struct model *m, struct model_console *c, bool may_be_alone, bool may_wait)
{
    unsigned sum = 0;
    size_t i = 0;
    enum model_state state = model_state(c);
    for (size_t j = 0; j < model_event_count; j++)
        if (model_events[j].states >> state & 1)
            sum += model_events[j].weight;
    unsigned at = model_random(m, sum);
    for (;; i++) {
        if (!(model_events[i].states >> state & 1))
            continue;
        if (at < model_events[i].weight)
            break;
        at -= model_events[i].weight;
    }
    if ((model_events[i].alone && !may_be_alone) || (model_events[i].waits && !may_wait))
        return false;
    if (model_events[i].happen(m, c))
        counts[i][state]++;
    return model_events[i].alone;
}

/* A new console's user port, which Redis tells. */
static void find_ports(struct model *m)
{
    for (struct model_console *c = m->consoles; c < m->consoles + MODEL_CONSOLES; c++)
        if (c->exists && !c->port)
            model_check_mapping(m);
}

static void run_sequence(struct model *m, uint64_t seed)
{
    model_begin(m, seed);
    for (struct model_console *c = m->consoles; c < m->consoles + MODEL_CONSOLES; c++)
        if (model_random(m, 4))
            model_arrive(m, c);
    model_settle(m);
    find_ports(m);
    unsigned steps = STEPS_MIN + model_random(m, STEPS_MAX - STEPS_MIN + 1);
    for (unsigned done = 0; done < steps;) {
        /* To one console, or to several at once. */
        unsigned first = model_random(m, MODEL_CONSOLES);
        unsigned n = model_random(m, 2) ? 1 : 1 + model_random(m, MODEL_CONSOLES);
        bool alone = false, stopped = model_random(m, 4) == 0;
        if (stopped)
            model_stop(m);
        for (unsigned i = 0; i < n && !alone; i++, done++)
            alone = happen(m, &m->consoles[(first + i) % MODEL_CONSOLES], i == 0 && !stopped, !stopped);
        if (stopped)
            model_go_on(m);
        model_settle(m);
        find_ports(m);
        if (model_random(m, 16) == 0)
            model_check_mapping(m);
        m->step++;
    }
    model_check_mapping(m);
    model_end(m);
}

/* Prints how often each event happened in each state. Result: how many that could have did not. */
static unsigned print_counts(void)
{
    unsigned never = 0;
    printf("%-20s %7s", "event", "total");
    for (int s = 0; s < MODEL_STATES; s++)
        printf(" %9s", model_state_names[s]);
    putchar('\n');
    for (size_t i = 0; i < model_event_count; i++) {
        unsigned total = 0;
        for (int s = 0; s < MODEL_STATES; s++)
            total += counts[i][s];
        printf("%-20s %7u", model_events[i].name, total);
        for (int s = 0; s < MODEL_STATES; s++) {
            bool may_be = model_events[i].states >> s & 1;
            never += may_be && !counts[i][s];
            if (may_be)
                printf(" %9u", counts[i][s]);
            else
                printf(" %9s", "-");
        }
        putchar('\n');
    }
    fflush(stdout);
    return never;
}

void model_run(const char *program, unsigned runs, unsigned ms, bool all)
{
    const char *seed_text = getenv("VSPC_MODEL_SEED"), *runs_text = getenv("VSPC_MODEL_RUNS");
    uint64_t seed;
    if (runs_text)
        runs = (unsigned)strtoul(runs_text, NULL, 10);
    if (seed_text)
        seed = strtoull(seed_text, NULL, 10);
    else if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        env_fail("no random numbers");
    printf("VSPC_MODEL_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    struct model *m = model_new(program);
    uint64_t start = clock_ms();
    unsigned done = 0;
    for (; runs ? done < runs : clock_ms() - start < ms; done++)
        run_sequence(m, seed + done);
    model_free(m);
    printf("%u sequences in %llu ms\n", done, (unsigned long long)(clock_ms() - start));
    unsigned never = print_counts();
    if (all && never)
        env_fail("%u events never happened in a state where they can", never);
}
