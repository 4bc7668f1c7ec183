import { setTimeout as sleep } from 'node:timers/promises';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import type { ServiceHost } from '../service-host.ts';

/** GitLab's own backup tidies up behind itself when it is told to end; then it is killed. */
const graceS = 10;
const endMs = 60_000;
const beginMs = 2_000;

/**
 * All that runs for the backup of that name: whoever was told the name, and all of their sessions, as the engine gives one to each
 * command that it starts in a container. Never the session of the container itself. Not by their environment, which root in a
 * container may not read of GitLab's user. `bundle exec` makes one word of all that it was told.
 */
const ending = `
session() { { read -r line <"$1/stat"; } 2>/dev/null || return 0; set -- \${line##*) }; [ "$1" = Z ] || echo "$4"; }
named() { for p in /proc/[0-9]*; do { tr '\\0 ' '\\n\\n' <"$p/cmdline"; } 2>/dev/null | grep -qxF "BACKUP=$1" && session "$p"; done; }
own=$(session /proc/1)
all=$(named "$1" | sort -u | grep -vxF "$own" | tr '\\n' ' ')
running() {
  for p in /proc/[0-9]*; do s=$(session "$p"); case " $all" in *" \${s:-none} "*) echo "\${p#/proc/}" ;; esac; done
}
tell() { for one in $(running); do kill "-$1" "$one" 2>/dev/null; done; }
tell TERM
n=0
while [ -n "$(running)" ] && [ "$n" -lt "$2" ]; do sleep 1; n=$((n + 1)); done
tell KILL
[ -z "$(running)" ] || sleep 1
[ -z "$(running)" ]`;

/**
 * GitLab's own backup of that name ends in its container: whoever is no longer listened to there goes on for hours else, and its file
 * would be left. Throws `no-docker`, and `backup` where it does not end.
 */
export async function endOwnRun(host: Pick<ServiceHost, 'exec'>, id: string, name: string): Promise<void> {
  const { code } = await host
    .exec(id, ['sh', '-c', ending, 'sh', name, String(graceS)], { timeoutMs: endMs })
    .catch((error: unknown) => {
      if (error instanceof AutogitError && error.code === 'executor-failed') return { code: 0 }; // No such container, or it stands still.
      throw error;
    });
  if (code !== 0)
    throw new AutogitError('backup', `the backup ${name} in its container does not end`, {
      hint: `look at it: docker top ${id.slice(0, 12)}`,
    });
}

/** What is run there, until `signal`; where it is not heard of to its end it is ended. */
export async function runToEnd<T>(run: Promise<T>, end: () => Promise<void>, signal: AbortSignal): Promise<T> {
  const over = new AbortController();
  const given = new Promise<never>((_, reject) => {
    const giveUp = (): void => reject(new AutogitError('backup', `it was given up: ${sentenceOf(signal.reason)}`));
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp, { once: true, signal: over.signal });
  });
  try {
    return await Promise.race([run, given]);
  } catch (error) {
    // Its own failure is the one to be told: the next try, or the next agent by its note, ends it first.
    await end().catch(() => undefined);
    // It may have been about to begin, and is heard of when it has ended.
    const isOver = run.then(
      () => true,
      () => true,
    );
    if (!(await Promise.race([isOver, sleep(beginMs, false, { ref: false })]))) await end().catch(() => undefined);
    throw error;
  } finally {
    over.abort();
  }
}
