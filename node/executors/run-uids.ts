import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';
import { execCleanly, findProgram } from '../clean-spawn.ts';
import { spawnAside } from '../starter/starter.ts';
import { leastUid, processesOfUid } from './run-processes.ts';
import { aside, exitOf } from './tree-removal.ts';

interface UidRange {
  first: number;
  last: number;
}

/**
 * Uids that nothing else gives away: persons end at 60000, systemd's dynamic users at 65519, subuid ranges begin at
 * 100000, those of directories (sssd) at 200000. Small enough for every tar.
 */
export const usualRange: UidRange = { first: 70_000, last: 79_999 };
/** Who a hosted GitLab's gate is: its rules let nobody else in (`../hosting/gate/gate-guard.ts`), so no job may be that. */
export const gateUser = 69_443;
/** Who hands on to the host's gate what comes to another machine (`../hosting/forward/`): reaches nothing of this one's. */
export const forwardUser = 69_444;

/** `auto`, or `auto:FIRST-LAST`; null for the name of somebody. Throws `bad-flag` for a range that is none. */
export function readAutoUser(user: string): UidRange | null {
  if (user === 'auto') return usualRange;
  if (!user.startsWith('auto:')) return null;
  const [, first = 0, last = 0] = (/^auto:(\d{1,10})-(\d{1,10})$/.exec(user) ?? []).map(Number);
  if (first < leastUid || last < first || last > 2 ** 31 - 1)
    throw new AutogitError('bad-flag', `--user ${user} is no range of uids`, {
      hint: `write --user auto, which is auto:${usualRange.first}-${usualRange.last}, or another range of uids that nobody has`,
    });
  return { first, last };
}

/** One file a uid, of all agents of this machine: it holds the folder of the run that has it. Gone with a reboot, as are processes. */
const takenDir = '/run/autogit-node-uids';

/** Null: another run has it. */
function reserve(uid: number, folder: string): number | null {
  mkdirSync(takenDir, { recursive: true, mode: 0o700 });
  const draft = join(takenDir, `.${uid}-${process.pid}`);
  try {
    writeFileSync(draft, folder, { mode: 0o600 });
    // Whole or not at all: an agent that is killed here must not leave a uid that nobody has and nobody gets.
    linkSync(draft, join(takenDir, String(uid)));
    return uid;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return null;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

const ownerOf = (uid: number): string | null => {
  try {
    return readFileSync(join(takenDir, String(uid)), 'utf8');
  } catch {
    return null;
  }
};

/** After a reboot, for a run of before that still has files. */
export function keepUid(uid: number, folder: string): void {
  reserve(uid, folder);
}

function release(uid: number, folder: string): void {
  if (ownerOf(uid) === folder) rmSync(join(takenDir, String(uid)), { force: true });
}

/** The uids that runs below a folder have, with their folders; also of one that was not finished preparing. */
export function uidsBelow(workDir: string): { uid: number; folder: string }[] {
  let names: string[];
  try {
    names = readdirSync(takenDir);
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const folder = /^\d+$/.test(name) ? ownerOf(Number(name)) : null;
    return folder?.startsWith(`${workDir}/`) ? [{ uid: Number(name), folder }] : [];
  });
}

const ids = (file: string, at: number): Set<number> => {
  try {
    const lines = readFileSync(file, 'utf8').split('\n');
    return new Set(lines.map((line) => Number(line.split(':')[at])));
  } catch {
    return new Set();
  }
};

/** Ranges that users of this machine may have in namespaces of theirs. */
const lentRanges = (): UidRange[] => {
  try {
    const lines = readFileSync('/etc/subuid', 'utf8').split('\n').filter(Boolean);
    return lines.map((line) => {
      const [, first, count] = line.split(':').map(Number);
      return { first: first ?? 0, last: (first ?? 0) + (count ?? 0) - 1 };
    });
  } catch {
    return [];
  }
};

/** A directory on the network may know it as somebody's. One that does not answer in time is not waited for. */
async function isSomebodys(uid: number): Promise<boolean> {
  if (findProgram('getent', process.env.PATH) === null) return false;
  const asked = ['passwd', 'group'].map((base) =>
    execCleanly('getent', [base, String(uid)], { timeout: 2000 }).then(
      () => true,
      () => false,
    ),
  );
  return (await Promise.all(asked)).includes(true);
}

/** A uid (and gid) for one run: nobody has it, nothing runs with it, and no other run gets it until `endUser`. */
export async function takeUid({ first, last }: UidRange, folder: string): Promise<number> {
  const [people, groups, lent] = [ids('/etc/passwd', 2), ids('/etc/group', 2), lentRanges()];
  const count = last - first + 1;
  // Not in a row: what an earlier run may have left somewhere should not soon be another's.
  const offset = Math.floor(Math.random() * count);
  for (let k = 0; k < count; k++) {
    const uid = first + ((offset + k) % count);
    if (uid === gateUser || uid === forwardUser || people.has(uid) || groups.has(uid)) continue;
    if (lent.some((one) => uid >= one.first && uid <= one.last)) continue;
    if (reserve(uid, folder) === null) continue;
    if (processesOfUid(uid).length === 0 && !(await isSomebodys(uid))) return uid;
    release(uid, folder);
  }
  throw new AutogitError('executor-failed', `no uid from ${first} to ${last} is free for a run`, {
    hint: `give a wider range (--user auto:FIRST-LAST); who has which stands in ${takenDir}`,
  });
}

/** Where anybody may leave something. */
const publicPlaces = ['/tmp', '/var/tmp', '/dev/shm', '/dev/mqueue', '/run/lock'];
const cleaning = `places=
for place in ${publicPlaces.join(' ')}; do [ -d "$place" ] && places="$places $place"; done
find $places -xdev -user "$1" -type d ! -perm -700 -exec chmod u+rwx {} \\; 2>/dev/null
find $places -xdev -user "$1" -depth -delete 2>/dev/null
command -v ipcrm >/dev/null && ipcrm --all 2>/dev/null`;
const cleaningMs = 30_000;

/** Removes, as that user, what a run left in places that are everybody's, and gives its uid back. */
export async function endUser(uid: number, folder: string): Promise<void> {
  const child = spawnAside('/bin/sh', ['-c', cleaning, 'sh', String(uid)], {
    ...aside(),
    uid,
    gid: uid,
    detached: true,
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), cleaningMs);
  await exitOf(child);
  clearTimeout(timer);
  if (processesOfUid(uid).length === 0) release(uid, folder);
}
