import type { ProtectedGitlab } from '../../../protocol/protected-gitlab.ts';
import type { OmnibusContainer } from '../../machine/omnibus-containers.ts';
import { outsideOf } from './protect-facts.ts';

/** As the engine mounts it, whatever links lead there. */
export const dataOf = (one: Pick<OmnibusContainer, 'mounts'>): string | null => outsideOf(one, '/var/opt/gitlab');

/**
 * The container that has these data now. By the folder, as a person makes a container anew at any time, under another id and
 * maybe another name: whatever runs on these data is that GitLab.
 */
export function containerOf(
  { container: name, folder }: Pick<ProtectedGitlab, 'container' | 'folder'>,
  all: readonly OmnibusContainer[],
): { container: OmnibusContainer } | { missing: string } {
  const mine = all.filter((one) => dataOf(one) === folder);
  const running = mine.find(({ isRunning }) => isRunning);
  if (running) return { container: running };
  const [stopped] = mine;
  if (stopped) return { missing: `container ${stopped.name} is ${stopped.status}: docker start ${stopped.name}` };
  const namesake = all.find((one) => one.name === name);
  const other = namesake === undefined ? null : dataOf(namesake);
  return {
    missing:
      other === null
        ? `no container has its data in ${folder} any more; it was ${name}`
        : `container ${name} has its data in ${other} now, and not in ${folder}: autogit-node gitlab protect --end, then protect it anew`,
  };
}

/** The one that a person means: by its name, or the only one that there is. */
export function namedContainer(
  name: string | null,
  all: readonly OmnibusContainer[],
): { container: OmnibusContainer } | { refused: string; fix: string } {
  const named = all.filter((one) => one.name === name);
  // One that was stopped and left beside the one that took its place is not meant.
  const running = all.filter(({ isRunning }) => isRunning);
  const [only, ...more] = name === null ? (running.length > 0 ? running : all) : named;
  const names = all.map((one) => one.name).join(', ');
  if (only === undefined && all.length === 0)
    return { refused: 'no container of a GitLab runs on this machine', fix: 'name the machine: --on NODE' };
  if (only === undefined) return { refused: `no GitLab runs in a container ${name}`, fix: `there is: ${names}` };
  if (more.length > 0)
    return { refused: `several GitLabs run here: ${names}`, fix: 'name the container that is meant' };
  return { container: only };
}
