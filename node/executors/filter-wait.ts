/**
 * After a step's shell has ended, what reads the step's output through a pipe (`exec > >(tee log)`) may still write. One
 * that has just been begun may not have its pipe yet, so whatever holds our output is looked at twice: a daemon that only
 * holds it costs 0.1 s, a filter at most 5. POSIX sh, for both executors. `descriptor`: where the shell that waits has the
 * output.
 */
export const filterWait = (descriptor: number): string => `  autogit_i=0
  while [ $autogit_i -lt 50 ]; do
    autogit_w=
    for autogit_p in /proc/[0-9]*; do
      [ "$autogit_p" != "/proc/$$" ] && [ "$autogit_p/fd/1" -ef "/proc/$$/fd/${descriptor}" ] || continue
      [ $autogit_i -eq 0 ] || [ -p "$autogit_p/fd/0" ] || continue
      autogit_w=1
      break
    done 2>/dev/null
    [ -n "$autogit_w" ] || break
    sleep 0.1 2>/dev/null || { sleep 1; autogit_i=$((autogit_i + 9)); }
    autogit_i=$((autogit_i + 1))
  done`;
