import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { namespacesNamed } from '../e2e/namespaces.ts';
import { until } from '../e2e/rig.ts';
import { cgroupsNamed, detachBelow, removeCgroups, shimSockets, thawCgroups, unmountBelow } from './lab-engine.ts';
import { labCgroup, labNames, labPrefix, labRoot } from './lab-file.ts';
import { killAll, processesOf } from './machine-processes.ts';

/**
 * Removes every lab of this computer: found by namespace, mount, control group and folder, not by a file that says so,
 * so that it also works after the lab was killed while it was built. Returns what there was.
 */
export async function removeLabs(): Promise<{ machines: number; processes: number; labs: string[] }> {
  const labs = labNames();
  const namespaces = namespacesNamed(labPrefix);
  const all = () => namespaces.flatMap(processesOf);
  const processes = all().length;
  const sockets = namespaces.flatMap(shimSockets);
  await killAll('the lab', () => {
    const left = all();
    if (left.length > 0) thawCgroups(labCgroup);
    return left;
  });
  detachBelow(labRoot);
  unmountBelow(labRoot);
  await until('no image of the lab is attached', () => detachBelow(labRoot) === 0);
  for (const name of namespaces) spawnSync('ip', ['netns', 'del', name], { stdio: 'ignore' });
  for (const path of sockets) rmSync(path, { force: true });
  await until('the control groups of the lab are gone', () => {
    removeCgroups(labCgroup);
    return cgroupsNamed(labCgroup).length === 0;
  });
  // Where a machine's image of GitLab's data is mounted, nothing may be written while it is not.
  const closed = ['-c', `find '${labRoot}' -xdev -name mounted -type d -exec chattr -i {} + 2>/dev/null; true`];
  spawnSync('sh', closed, { stdio: 'ignore' });
  for (const name of labs) rmSync(join(labRoot, name), { recursive: true, force: true, maxRetries: 5 });
  rmSync(labRoot, { recursive: true, force: true });
  return { machines: namespaces.filter((name) => !name.endsWith('hub')).length, processes, labs };
}
