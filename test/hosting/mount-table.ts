import { readdirSync, readFileSync } from 'node:fs';

/** One line of a mountinfo. */
export interface Mount {
  /** The folder within the file system that is mounted. */
  root: string;
  point: string;
  source: string;
  options: string;
}

const plain = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** The mounts as that process sees them; empty when it is gone. */
export function mountsOf(pid: number | 'self'): Mount[] {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/mountinfo`, 'utf8');
  } catch {
    return [];
  }
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, point, options] = before.split(' ');
    const source = after.split(' ')[1];
    if (root === undefined || point === undefined || source === undefined || options === undefined) return [];
    return [{ root: plain(root), point: plain(point), source: plain(source), options }];
  });
}

export interface Holder {
  pid: number;
  command: string;
  mount: Mount;
}

/** Every mount of that device that any process sees, in whatever mount namespace. */
export function holdersOf(source: string): Holder[] {
  return readdirSync('/proc').flatMap((entry) => {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) return [];
    const mounts = mountsOf(pid).filter((one) => one.source === source);
    if (mounts.length === 0) return [];
    try {
      const command = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
      return mounts.map((mount) => ({ pid, command, mount }));
    } catch {
      return []; // It has ended meanwhile.
    }
  });
}
