import { lstatSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** What `copyProgram` and the command beside it make in a program's folder. */
const parts = new Set(['bin', 'deploy', 'dist', 'docs', 'node_modules', 'package.json']);

const isFolder = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

/** Only of a folder whose package.json is this program's, of the version that the folder is called by: `0.1.0`, or a copy that was cut off, `0.1.0.4711`. */
function isProgramOfOurs(folder: string, name: string): boolean {
  if (!isFolder(folder) || readdirSync(folder).some((part) => !parts.has(part))) return false;
  try {
    const about = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: string; version?: string };
    const called =
      about.version !== undefined && name.startsWith(about.version) ? name.slice(about.version.length) : '-';
    return about.name === 'autogit-node' && /^(\.\d+)?$/.test(called);
  } catch {
    return false;
  }
}

/** Takes `program` and the other versions beside it away that `service install` put there; all else stays. Paths; throws the file system's error. */
export function removePrograms(program: string): { removed: string[]; kept: string[] } {
  const folder = dirname(program);
  const [removed, kept]: [string[], string[]] = [[], []];
  for (const name of isFolder(folder) ? readdirSync(folder).sort() : []) {
    const path = join(folder, name);
    const isOurs = path === program || isProgramOfOurs(path, name);
    (isOurs ? removed : kept).push(path);
    if (isOurs) rmSync(path, { recursive: true, force: true });
  }
  if (removed.length > 0 && kept.length === 0) rmdirSync(folder);
  return { removed, kept };
}
