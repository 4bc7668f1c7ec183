import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { AutogitError } from '../../protocol/errors.ts';
import { shown } from '../foreign-text.ts';
import type { StepEnd } from '../ports.ts';
import { endedFromWithin, ender, lacksTee } from './docker-container.ts';
import { isEngineAway, withLimit } from './docker-engine.ts';
import { printedIn } from './docker-exec.ts';
import { cgroupProcesses, thawIfFrozen } from './run-cgroup.ts';

/**
 * Ending a container needs nothing of the job: what is asked of the container's own sh has a limit, and then its control
 * group is killed from outside, and the engine is told, until it says that nothing runs (security A4).
 */

/** ms beyond the grace within which a container's own sh must have ended the step. */
const enderMs = 3_000;
const callMs = 5_000;
/** Processes that stand in a driver's call cannot be ended by anybody; then the engine is asked for so long. */
const killForMs = 600_000;

/** Ends the job's processes by the container's own sh; false when that did not work, whatever it said. */
export async function endPolitely(
  container: Docker.Container,
  controlDir: string,
  graceMs: number,
  record: string,
): Promise<boolean> {
  const command = { Cmd: ['sh', '-c', ender(controlDir, graceMs, record)], User: '0' };
  try {
    const said = await printedIn(container, command, { limitMs: graceMs + enderMs, mostChars: 4096 });
    return said.includes('left 0');
  } catch {
    // No sh, no engine, no answer: the container is ended from outside.
    return false;
  }
}

/** SIGKILL to all of a group. Needs no engine, but root. True when nothing is left of it. */
export async function killGroup(path: string | null): Promise<boolean> {
  if (path === null) return false;
  for (let tries = 0; tries < 20; tries++) {
    const members = cgroupProcesses(path);
    if (members.length === 0) return true;
    try {
      if (existsSync(join(path, 'cgroup.kill'))) writeFileSync(join(path, 'cgroup.kill'), '1');
    } catch {
      // Not ours to write; then the signals do it, or the engine.
    }
    for (const { pid } of members)
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // Gone, or not ours to end.
      }
    // Version 1 delivers a signal only to what is thawed; it dies before it does anything else.
    thawIfFrozen(path);
    await sleep(25);
  }
  return cgroupProcesses(path).length === 0;
}

/** Returns when the container does not run any more: the engine says so, or it is away and the group is empty. */
export async function killContainer(
  container: Docker.Container,
  path: string | null,
  limitMs: number = killForMs,
): Promise<void> {
  const until = performance.now() + limitMs;
  for (let waitMs = 50; performance.now() < until; waitMs = Math.min(waitMs * 2, 2000)) {
    const isEmpty = await killGroup(path);
    await withLimit(container.kill(), callMs).catch(() => undefined);
    thawIfFrozen(path);
    try {
      if (!(await withLimit(container.inspect(), callMs)).State.Running) return;
    } catch (error) {
      if ((error as { statusCode?: number }).statusCode === 404) return;
      if (isEngineAway(error) && isEmpty) return;
    }
    await sleep(waitMs);
  }
  throw new AutogitError('executor-failed', `container ${container.id} cannot be ended`);
}

/** With its volumes. Waits for a removal that is already under way. */
export async function removeContainer(container: Docker.Container): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    try {
      await container.remove({ force: true, v: true });
      return;
    } catch (cause) {
      const status = (cause as { statusCode?: number }).statusCode;
      if (status === 404) return;
      if (status !== 409)
        throw new AutogitError('executor-failed', `cannot remove container ${container.id}`, { cause });
      await sleep(100);
    }
  }
  throw new AutogitError('executor-failed', `container ${container.id} is not removed after 10 s`);
}

/**
 * How a step ended whose container does not run any more, and of which there is no exit code. `isCurrent`: it was begun last. `early`: what
 * the container said where its keeper never began, which the image's entrypoint is to start; null: it had begun.
 */
export function endOfStopped(
  state: Pick<Docker.ContainerInspectInfo['State'], 'ExitCode' | 'OOMKilled'> | null,
  isCurrent: boolean,
  early: string | null = null,
): StepEnd {
  if (state === null) return { kind: 'lost', because: 'its container is gone' };
  const { ExitCode, OOMKilled } = state;
  if (ExitCode === endedFromWithin && isCurrent && !OOMKilled)
    return {
      kind: 'exited',
      exitCode: 137,
      because: 'the job ended all processes of its own container (exit code 137)',
    };
  if (ExitCode === lacksTee)
    return { kind: 'exited', exitCode: 127, because: 'its image has no tee, which a job needs (exit code 127)' };
  // One that a signal ended, as an engine that restarts does, says nothing of its entrypoint.
  if (early !== null && ExitCode < signalled && !OOMKilled) return endOfEntrypoint(ExitCode, early);
  const how = OOMKilled
    ? ': out of memory'
    : ` (exit code ${ExitCode}): someone else ended it, or the engine restarted`;
  return { kind: 'lost', because: `its container was stopped${how}`, isUnclear: true };
}

/** Exit codes from here on are a signal's. */
const signalled = 128;

/** `alpine/git` and the like: they take the shell for words of their own. The job's own failure, whichever machine has it. */
function endOfEntrypoint(code: number, early: string): StepEnd {
  const words = shown(early).replace(/ +/g, ' ').trim().slice(0, 300);
  const said = words === '' ? '' : `, saying: ${words}`;
  const fix = 'where it takes no command, leave it out: image: { name: NAME, entrypoint: [""] }';
  const because = `the image's entrypoint ended (exit code ${code}) instead of starting the job's shell${said}; ${fix}`;
  return { kind: 'exited', exitCode: code || 1, because };
}
