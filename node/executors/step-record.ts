import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filterWait } from './filter-wait.ts';

/**
 * What is known of one step of a process run: `step-<n>.status`, a file of short lines that is only ever appended to,
 * so that agent and supervisor can both write it and a crash of either leaves it readable. A line counts once its
 * newline is there.
 *
 *     begun 1234567 60000      by the agent: boot ms, limit in ms (0: none)
 *     filter 4712 8812345      by the supervisor: what brings the step's output into its file, and its start ticks
 *     pid 4711 8812345         by the supervisor: itself
 *     killed "timed out …"     by the agent, before it signals
 *     exit 0                   by the supervisor: the end
 */
export interface StepRecord {
  begunMs: number;
  timeoutMs: number | null;
  supervisor: { pid: number; startTicks: string } | null;
  /** Null with a supervisor of an earlier version. */
  filter: { pid: number; startTicks: string } | null;
  killed: string | null;
  exitCode: number | null;
}

export function parseStepRecord(text: string): StepRecord {
  const nobody = { supervisor: null, filter: null };
  const record: StepRecord = { begunMs: 0, timeoutMs: null, ...nobody, killed: null, exitCode: null };
  for (const line of text.split('\n').slice(0, -1)) {
    const [word, first = '', second = ''] = line.split(' ');
    if (word === 'begun') {
      record.begunMs = Number(first);
      record.timeoutMs = Number(second) > 0 ? Number(second) : null;
    } else if (word === 'pid') record.supervisor = { pid: Number(first), startTicks: second };
    else if (word === 'filter') record.filter = { pid: Number(first), startTicks: second };
    else if (word === 'killed' && record.exitCode === null) record.killed ??= JSON.parse(line.slice(7)) as string;
    else if (word === 'exit') record.exitCode ??= Number(first);
  }
  return record;
}

/** Null when the step was never begun. */
export function readStepRecord(path: string): StepRecord | null {
  try {
    return parseStepRecord(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}

export const statusFile = (folder: string, index: number): string => join(folder, `step-${index}.status`);

/** Who looks after the steps of a run that were begun, and after their output, living or not. */
export function readSupervisors(folder: string): { pid: number; startTicks: string }[] {
  const found: { pid: number; startTicks: string }[] = [];
  for (let index = 0; ; index++) {
    const record = readStepRecord(statusFile(folder, index));
    if (record === null) return found;
    found.push(...[record.supervisor, record.filter].filter((one) => one !== null));
  }
}

/**
 * The supervisor of one step: bash in a session of its own, which outlives the agent. Output goes to the file that the
 * agent opened; the step gets a process group of its own (so `kill 0` in a job's script does not hit the supervisor)
 * but no job control while we wait, so that a SIGSTOP of the step does not look like its end. Descriptor 3 is the
 * status file, 4 the control group's cgroup.procs (or /dev/null), 6 to 8 those of groups that only limit, where there are
 * any; the step inherits none of them.
 *
 * The step writes into a pipe, and a `cat` beside the supervisor into the file: what opens its output by a name (`echo … >/dev/stderr`,
 * `tee /dev/stdout`) would cut a file off, with all that stands in it. It is spared as the supervisor is. What it has read but not written when the
 * step's shell ends is waited for (it sleeps, and the pipe is empty), as is what a filter of the job's own still holds (filter-wait.ts).
 *
 * With a second argument it holds the orphans of its step (orphan-holding.ts), so it stays until the last one is gone.
 */
export const supervisor = `umask 022
echo 0 2>/dev/null >&4
{ echo 0 >&6; echo 0 >&7; echo 0 >&8; } 2>/dev/null
exec 4>&- 6>&- 7>&- 8>&- 5>&1 >/dev/null 2>&1
exec 9> >(trap '' TERM INT HUP; exec cat >&5 3>&-)
filter=$!
trap : TERM INT HUP
say() {
  read -r stat <"/proc/$2/stat"
  fields=(\${stat##*') '})
  echo "$1 $2 \${fields[19]}" >&3
}
say filter "$filter"
say pid $$
set -m
# Out of memory, the kernel takes the job's processes rather than the supervisor or the agent.
{ echo 500 >/proc/self/oom_score_adj; exec bash "$1"; } >&9 2>&9 3>&- 5>&- 9>&- &
child=$!
set +m
while :; do
  wait "$child"
  code=$?
  # A signal ends the wait, not the step.
  if [ "$code" -le 128 ] || ! kill -0 "$child"; then break; fi
done
${filterWait(9)}
autogit_i=0
while [ $autogit_i -lt 200 ] && kill -0 "$filter"; do
  if ! { read -r -t 0 -u 6; } 6<"/proc/$filter/fd/0" && read -r stat <"/proc/$filter/stat"; then
    case "\${stat##*') '}" in [SZX]*) break ;; esac
  fi
  sleep 0.01
  autogit_i=$((autogit_i + 1))
done
echo "exit $code" >&3
exec 3>&- 5>&- 9>&-
while [ -n "$2" ] && kids= && { read -r kids </proc/$$/task/$$/children; [ -n "$kids" ]; }; do sleep 1; done
`;
