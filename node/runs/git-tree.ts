import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { asItLies, git, SourcesFailure } from './git-command.ts';
import { hasCommit, objectFormat, treeRefspecs } from './git-mirror.ts';
import { whileSourcesFit } from './sources-room.ts';
import type { SourcesSpec } from './sources-spec.ts';

/** The trees that jobs get, each with a `.git` of its own, made from mirrors before any job sees them. */

const credentialHelper =
  '"!f() { test \\"$1\\" = get && echo username=gitlab-ci-token && echo \\"password=$CI_JOB_TOKEN\\"; }; f"';
export const tagFlags = { follow: [], all: ['--tags'], none: ['--no-tags'] } as const;

/** The job's own `git fetch` asks its environment for the token, so that it is in no file of the tree. */
export function remoteConfig(address: string, isOwn: boolean): string {
  const remote = ['[remote "origin"]', `\turl = "${address}"`, '\tfetch = +refs/heads/*:refs/remotes/origin/*'];
  const login = [`[credential "${new URL(address).origin}"]`, `\thelper = ${credentialHelper}`];
  return [...remote, ...(isOwn ? login : []), ''].join('\n');
}

interface FromMirror {
  mirror: string;
  /** 0 = whole history. */
  depth: number;
  tags: keyof typeof tagFlags;
  /** Commits, and refspecs. */
  wanted: readonly string[];
}

const treeGit =
  (folder: string, signal: AbortSignal) =>
  (args: string[]): Promise<string> =>
    whileSourcesFit(folder, signal, (fits) => git(args, { cwd: folder, signal: fits, speaks: 'file' }));

/** An empty repository in a folder. Throws SourcesFailure. */
export async function initTree(folder: string, sha: string, signal: AbortSignal, ...how: string[]): Promise<void> {
  await treeGit(folder, signal)(['init', '--quiet', '--template=', objectFormat(sha), ...how, '.']);
}

/** Brings into a tree's repository what a mirror has. Throws SourcesFailure. */
export async function takeFrom(folder: string, from: FromMirror, signal: AbortSignal): Promise<void> {
  const depth = from.depth > 0 ? [`--depth=${from.depth}`] : [];
  // As one pack: to unpack few large objects and deflate each anew costs many times what it takes to check a pack.
  const asPack = ['-c', 'fetch.unpackLimit=1'];
  const server = `--upload-pack=git ${asItLies.join(' ')} upload-pack`;
  const how = ['--quiet', '--force', ...tagFlags[from.tags], ...depth, '--no-write-fetch-head', server];
  await treeGit(folder, signal)([...asPack, 'fetch', ...how, '--', `file://${from.mirror}`, ...from.wanted]);
}

/** The files of a commit, as detached HEAD. Throws SourcesFailure. */
export async function layFiles(folder: string, sha: string, signal: AbortSignal): Promise<void> {
  await treeGit(folder, signal)(['-c', 'advice.detachedHead=false', 'checkout', '--quiet', '--force', '--detach', sha]);
}

/** A tree as jobs expect it: shallow, detached, its remote without a token. Throws SourcesFailure. */
export async function checkOut(
  folder: string,
  mirror: string,
  address: string,
  spec: SourcesSpec,
  signal: AbortSignal,
): Promise<void> {
  await initTree(folder, spec.sha, signal);
  const targets = treeRefspecs(spec);
  const { depth, sha, tags = 'follow' } = spec;
  try {
    await takeFrom(folder, { mirror, depth, tags, wanted: [sha, ...targets] }, signal);
  } catch (error) {
    if (signal.aborted || (await hasCommit(mirror, sha, signal))) throw error;
    throw new SourcesFailure(`commit ${sha} is not in what GitLab gave for ${targets.join(' ')}`, false);
  }
  await appendFile(join(folder, '.git', 'config'), remoteConfig(address, true));
  if (spec.isCheckedOut !== false) await layFiles(folder, sha, signal);
}
