import { chmodSync, lstatSync, mkdirSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { AutogitError } from '../../protocol/errors.ts';

/** Who may change what a service runs: root, and whoever the service is of. */
interface Owner {
  uid: number;
  gid: number;
}

/** A folder in which others may make files but not replace each other's, such as /tmp: fine above a file, never as its folder. */
const isSticky = (mode: number): boolean => (mode & 0o1000) !== 0;

/**
 * The first of a file and its folders that somebody else than root and the owner may change; null when there is none. Root's
 * must be root's alone; a user's own group, which nobody else is in where distributions make one for each user, is the user.
 */
function changeableBy(path: string, owner: Owner = { uid: 0, gid: 0 }): { path: string; uid: number } | null {
  for (let at = path; ; at = dirname(at)) {
    const { uid, gid, mode } = statSync(at);
    const byGroup = (mode & 0o020) !== 0 && (owner.uid === 0 || gid !== owner.gid);
    const byOthers = byGroup || (mode & 0o002) !== 0;
    const isForeign = uid !== 0 && uid !== owner.uid;
    if (isForeign || (byOthers && !isSticky(mode))) return { path: at, uid };
    if (at === dirname(at)) return null;
  }
}

const ourselves = (): Owner => ({ uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });

/** Node.js or another file as it would be run: by its own path and by the one behind its links. */
export const changeableHere = (path: string): { path: string; uid: number } | null =>
  changeableBy(path, ourselves()) ?? changeableBy(realpathSync(path), ourselves());

/**
 * Makes the folder that the program is copied into, and refuses one in which others could put another program in its
 * place: it would run as root, or as this user, at the next boot. Throws `unsupported` with the fix.
 */
export function makeProgramFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  const found = changeableHere(folder);
  if (found === null) return;
  const { uid } = ourselves();
  const own = found.uid === 0 || found.uid === uid ? '' : `chown ${uid} ${found.path} && `;
  throw new AutogitError(
    'unsupported',
    `${found.path} can be changed by others (uid ${found.uid}, mode ${(statSync(found.path).mode & 0o7777).toString(8)}), and the service would run a program below it`,
    { hint: `${own}chmod go-w ${found.path}` },
  );
}

/** What was copied keeps the rights that it had where it came from; nobody else may write in it here. Links are not followed. */
export function closeToOthers(path: string): void {
  const found = lstatSync(path);
  if (found.isSymbolicLink()) return;
  if ((found.mode & 0o022) !== 0) chmodSync(path, found.mode & 0o7755);
  if (found.isDirectory()) for (const name of readdirSync(path)) closeToOthers(join(path, name));
}
