import { chmod, chown, lstat, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { execCleanly } from '../../clean-spawn.ts';
import type { DataFolders } from '../data-place.ts';
import { againstGate, fitForGate } from '../gitlab-rb.ts';
import { markerFile } from '../place-records.ts';
import { replaceFile, type SystemTools, toolEnv } from '../system-tools.ts';
import { readUnlinked } from '../unlinked-file.ts';
import { type FolderToCopy, holesBelow, targetOf } from './copied-folders.ts';

/** Some TiB on a slow disk. */
const copyMs = 48 * 3_600_000;
/** Stay where they are: its owner's backups, and what another mesh has written of these data. */
const left: ReadonlySet<string> = new Set(['/var/opt/gitlab/backups', `/var/opt/gitlab/${markerFile}`]);

/** Of a GitLab that has ever run. */
const neverEmpty: ReadonlySet<string> = new Set(['/etc/gitlab', '/var/opt/gitlab']);

/** One `cp`, which holds the lock for as long as it lives, also when the agent that began it is gone. */
type Copy = (sources: readonly string[], target: string) => Promise<void>;

export const copyUnder =
  (lock: string, signal: AbortSignal): Copy =>
  async (sources, target) => {
    try {
      const cp = ['cp', '-a', '--reflink=auto', '--', ...sources, target];
      // It is `cp` itself that the signal ends: no child of a flock that goes on for hours.
      await execCleanly('flock', ['--no-fork', lock, ...cp], {
        env: toolEnv,
        timeout: copyMs,
        signal,
        maxBuffer: 4 << 20,
      });
    } catch (cause) {
      signal.throwIfAborted();
      const [said = ''] = String((cause as { stderr?: unknown }).stderr ?? '').split('\n');
      throw new Error(`the copy failed: ${said === '' ? sentenceOf(cause) : said}`, { cause });
    }
  };

/** Waits for a `cp` of an agent of before. */
export const untilUnlocked = (lock: string, signal: AbortSignal): Promise<unknown> =>
  execCleanly('flock', [lock, 'true'], { env: toolEnv, signal });

/**
 * Brings all of those folders into the place. Each part of it that lies elsewhere there, or is mounted from elsewhere, is copied by
 * itself. The container stands still meanwhile.
 */
export async function fillPlace(folders: readonly FolderToCopy[], place: DataFolders, copy: Copy): Promise<void> {
  const mounts = folders.map(({ inside }) => inside);
  // Of a disk or a volume that went with its container an empty folder is left, and GitLab would begin a new, empty one in its copy.
  for (const { inside, outside } of folders)
    if (neverEmpty.has(inside) && (await readdir(outside)).length === 0)
      throw new Error(
        `${outside} is empty now that its container stands still: is its disk mounted? findmnt -T ${outside}`,
      );
  for (const { inside, outside } of folders) await fill(inside, outside);

  async function fill(inside: string, outside: string): Promise<void> {
    const target = targetOf(inside, place);
    await sameFolder(outside, target);
    const own = [...holesBelow(inside), ...mounts.filter((one) => one !== inside)];
    const whole: string[] = [];
    for (const name of (await readdir(outside)).sort()) {
      const path = join(inside, name);
      if (left.has(path) || mounts.includes(path)) continue;
      const isPart = own.some((one) => one === path || one.startsWith(`${path}/`));
      const from = join(outside, name);
      if (isPart && (await lstat(from)).isDirectory()) await fill(path, from);
      else whole.push(from);
    }
    if (whole.length > 0) await copy(whole, `${target}/`);
  }
}

/** It itself, with owner and mode; what was mounted may be named by a link, whose own mode lets everybody in. */
async function sameFolder(from: string, to: string): Promise<void> {
  const { uid, gid, mode } = await stat(from);
  await mkdir(to, { recursive: true });
  await chown(to, uid, gid);
  await chmod(to, mode & 0o7777);
}

/** Behind all that its owner wrote, which otherwise wins over what the mesh sets: by these the gate finds GitLab. */
const ofTheGate = ["nginx['listen_port'] = 80", "nginx['listen_https'] = false", "letsencrypt['enable'] = false"];
/** As much as the agent reads of one anywhere. */
const bytesMost = 4 << 20;

/**
 * The configuration of the copy: what the old container had in its environment, which is not taken over, then its gitlab.rb, in
 * the order in which GitLab's image reads them, then what the gate needs. Whoever is root in that container may have put a link in
 * the place of the file: it is not followed. `url`: by which the mesh will have it.
 */
export async function takeConfigOver(
  config: string,
  environment: string,
  url: string,
  tools: SystemTools,
): Promise<void> {
  const path = join(config, 'gitlab.rb');
  const own = await readUnlinked(config, 'gitlab.rb', bytesMost);
  if (own === null && (await lstat(path).catch(() => null)) !== null)
    throw new AutogitError('unsupported', 'its /etc/gitlab/gitlab.rb is no plain file of at most 4 MiB', {
      hint: 'put the file itself there in place of the link, and ask again',
    });
  await replaceFile(path, configText(environment, own ?? '', url), tools);
}

export function configText(environment: string, own: string, url: string): string {
  const before =
    environment.trim() === '' ? [] : ['# GITLAB_OMNIBUS_CONFIG of the container of before', environment.trim()];
  const gate = ["# by autogit-node gitlab adopt: behind the mesh's gate it answers with http on port 80", ...ofTheGate];
  const text = `${[...before, own.trimEnd(), ...gate].filter((part) => part !== '').join('\n')}\n`;
  const wrong = againstGate(text, url);
  return wrong.length === 0 ? text : `${text}${fitForGate(wrong, 'GitLab answers its gate, in http on port 80')}`;
}
