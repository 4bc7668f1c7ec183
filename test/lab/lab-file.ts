import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/**
 * Of this word are all the names of a lab made. The tests have another one (test/vitest.config.ts): a lab that somebody has up,
 * or that was left over, is no concern of theirs. No such word may begin with another.
 */
const place = z
  .string()
  .regex(/^[a-z]{3,5}$/, 'AUTOGIT_LAB is 3 to 5 letters a-z')
  .parse(process.env.AUTOGIT_LAB ?? 'lab');

/** Everything of a lab is below here, on a disk that Docker Engines can use (not tmpfs, not overlayfs). */
export const labRoot = `/var/tmp/autogit-${place}`;

/** Folder, below those of the control groups, that the containers and the CPU shares of a lab live in. */
export const labCgroup = `autogit-${place}`;

/** Network namespaces of a lab begin so; there is one lab at a time. */
export const labPrefix = `ag${place}`;

/** What a user did wrong or the computer lacks: one sentence, no stack. */
export class LabRefusal extends Error {}

/** What one command of the lab leaves for the next. What lives is not in here: that is asked of the processes. */
export const LabFile = z.object({
  version: z.literal(1),
  name: z.string(),
  /** Machine N of the LAN is the Nth. `boot` is what its agent takes for the kernel's boot id. */
  machines: z.array(z.object({ name: z.string(), boot: z.string() })),
  /** The practice GitLab on kang, with its admin token. */
  gitlab: z.object({ url: z.string(), token: z.string() }).nullable(),
  unplugged: z.array(z.string()),
  suspended: z.array(z.string()),
  /** Nothing that `from` sends reaches `to`. */
  blocked: z.array(z.object({ from: z.string(), to: z.string() })),
});
export type LabFile = z.infer<typeof LabFile>;

const fileOf = (name: string): string => join(labRoot, name, 'lab.json');

export function writeLab(lab: LabFile): void {
  mkdirSync(join(labRoot, lab.name), { recursive: true, mode: 0o700 });
  const file = fileOf(lab.name);
  writeFileSync(`${file}.new`, `${JSON.stringify(lab, null, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** The names of all labs that left something on this disk. */
export const labNames = (): string[] => (existsSync(labRoot) ? readdirSync(labRoot) : []);

/** The lab that is up. */
export function readLab(): LabFile {
  const name = labNames().find((candidate) => existsSync(fileOf(candidate)));
  if (name === undefined) throw new LabRefusal('no lab is up: npm run lab -- up 3');
  return LabFile.parse(JSON.parse(readFileSync(fileOf(name), 'utf8')));
}
