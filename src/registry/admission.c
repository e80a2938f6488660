#include "vspc/admission.h"

void admission_init(struct admission *admission, int limit)
{
    admission->total = limit > ADMISSION_RESERVE ? limit - ADMISSION_RESERVE : 0;
    atomic_init(&admission->left, admission->total);
}

bool admission_take(struct admission *admission, int n)
{
    int left = atomic_load_explicit(&admission->left, memory_order_relaxed);
    while (left >= n)
        if (atomic_compare_exchange_weak_explicit(&admission->left, &left, left - n, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    return false;
}

void admission_give(struct admission *admission, int n)
{
    atomic_fetch_add_explicit(&admission->left, n, memory_order_relaxed);
}
