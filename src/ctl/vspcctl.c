/* vspcctl: the operator's tool. */
#include <stdio.h>

int main(void)
{
    puts("vspcctl " VSPC_VERSION);
    return 0;
}
