import type Docker from 'dockerode';
import { killContainer, killGroup, removeContainer } from './docker-ending.ts';
import { isSilent, statusOf, withLimit } from './docker-engine.ts';
import { groupOfContainer } from './run-cgroup.ts';

/** A container that stands still while the engine starts it keeps every call about it waiting. */
export const inspectMs = 3000;

/** The control group of a container, and its id, which stands in the path. */
export interface KnownGroup {
  path: string;
  id: string;
}

interface Found {
  container: Docker.Container;
  isRunning: boolean;
  /** Its control group, where it is known and on this machine. */
  group: string | null;
}

async function look(container: Docker.Container): Promise<Found> {
  try {
    const { State } = await withLimit(container.inspect(), inspectMs);
    return { container, isRunning: State.Running, group: groupOfContainer(container.id, State.Pid) };
  } catch (cause) {
    if (isSilent(cause) || statusOf(cause) === 404) return { container, isRunning: false, group: null };
    throw cause;
  }
}

function knownOf(found: readonly Found[]): KnownGroup | null {
  for (const { container, group } of found) if (group !== null) return { path: group, id: container.id };
  return null;
}

/** Where the group of a container is, or will be: the engine puts that of each where it puts another's. */
export const groupLike = ({ path, id }: KnownGroup, other: string): string => path.replaceAll(id, other);

/**
 * Ends and removes containers that are of no use any more, whatever state they are in: version 1 of control groups lets nothing
 * frozen die, and the engine, which does not know what a watchdog froze, gives up on it. One that cannot be removed keeps none of the
 * others; its error is thrown at the end. `limitMs`: for one whose processes do not die. `like`: the group of a container of this engine.
 */
export async function removeContainers(
  docker: Docker,
  ids: readonly string[],
  { limitMs, like = null }: { limitMs?: number; like?: KnownGroup | null } = {},
): Promise<void> {
  const looks = await Promise.allSettled(ids.map((id) => look(docker.getContainer(id))));
  const found = looks.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const known = like ?? knownOf(found);
  const ends = await Promise.allSettled(
    found.map(async ({ container, isRunning, group }) => {
      if (isRunning) await killContainer(container, group, limitMs);
      // Frozen in the middle of its start, it does not run yet for the engine.
      else if (known) await killGroup(groupLike(known, container.id));
      await removeContainer(container);
    }),
  );
  for (const one of [...looks, ...ends]) if (one.status === 'rejected') throw one.reason;
}
