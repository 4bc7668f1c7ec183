import { createHash } from 'node:crypto';
import { appendFile, lstat, mkdir, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { git, SourcesFailure } from './git-command.ts';
import { initTree, layFiles, remoteConfig, takeFrom } from './git-tree.ts';
import {
  addressOfModule,
  fixOfRefused,
  isWanted,
  type ModuleAddress,
  mostDepth,
  mostModules,
  type Submodule,
  type SubmoduleSpec,
  submodulesOf,
} from './submodule-plan.ts';

/** A repository in the tree of a job: the project's own, or a submodule of it. */
interface Place {
  folder: string;
  gitDir: string;
  /** Where its commits are. */
  mirror: string;
  sha: string;
  address: ModuleAddress;
  /** Of the project's folder; empty for the project itself. */
  path: string;
}

/** Of a `.gitmodules`: some thousand submodules. What git prints of one is longer, by the names that it repeats. */
const modulesBytes = 1 << 20;

interface SubmodulesWanted {
  spec: SubmoduleSpec;
  /** GitLab's address as this machine reaches it, and those by which it calls itself. */
  gitlab: string;
  names: string[];
  /** Brings a commit into a mirror, which it answers; the server is asked each time whether this job may read it. */
  mirrorOf(address: ModuleAddress, sha: string): Promise<string>;
  /** One lies at its path. */
  laid(module: { mirror: string; sha: string; address: ModuleAddress; path: string }): void;
  say(sentence: string): void;
  signal: AbortSignal;
}

/**
 * Puts the submodules of a commit into a tree that the agent has checked out for a job, as `git submodule update --init`
 * leaves them. Git's own command is not used: it would obey what `.gitmodules` of a stranger says. Throws SourcesFailure.
 */
export async function bringSubmodules(place: Place, wanted: SubmodulesWanted): Promise<void> {
  let count = 0;
  const bring = async (of: Place, depth: number): Promise<void> => {
    for (const { module, sha } of await modulesOf(of, wanted)) {
      const path = of.path === '' ? module.path : `${of.path}/${module.path}`;
      if (++count > mostModules || depth > mostDepth)
        throw new SourcesFailure(`more than ${mostModules} submodules, or more than ${mostDepth} in each other`, false);
      const { gitlab, names, spec } = wanted;
      const address = addressOfModule(module, of.address, gitlab, names, spec.forceHttps);
      const mirror = await wanted.mirrorOf(address, sha).catch((error: unknown) => {
        if (!(error instanceof SourcesFailure)) throw error;
        // Only GitLab is waited for: without it there is no job either.
        const isAway = error.isAway && address.isOwn;
        const fix = isAway ? '' : fixOfRefused(error.message, address, gitlab, place.address.url);
        throw new SourcesFailure(`submodule ${path} (${address.url}): ${error.message}${fix}`, isAway);
      });
      const next = await layOut(of, module, { mirror, sha, address, path }, wanted);
      wanted.laid({ mirror, sha, address, path });
      wanted.say(`Submodule path '${path}': checked out '${sha}'`);
      if (spec.isRecursive) await bring(next, depth + 1);
    }
  };
  await bring(place, 1);
}

/** What the commit has at their paths, read from the mirror. One that is not there is left out, as git does. */
async function modulesOf(
  { mirror, sha, path }: Place,
  { spec, signal }: SubmodulesWanted,
): Promise<{ module: Submodule; sha: string }[]> {
  const run = (args: string[]): Promise<string> => git(args, { cwd: mirror, signal, mostBytes: 8 * modulesBytes });
  const entry = await run(['ls-tree', '-z', '-l', '--full-tree', sha, '--', '.gitmodules']);
  const [, size] = /^100\d{3} blob [0-9a-f]+ +(\d+)\t/.exec(entry) ?? [];
  if (size === undefined) return [];
  if (Number(size) > modulesBytes)
    throw new SourcesFailure(
      `${path === '' ? '' : `${path}: `}.gitmodules has more than ${modulesBytes >> 10} KiB`,
      false,
    );
  const modules = submodulesOf(await run(['config', '-z', `--blob=${sha}:.gitmodules`, '--list']));
  const asked = modules.filter((module) => path !== '' || isWanted(module.path, spec.paths));
  if (asked.length === 0) return [];
  const listed = await run([
    '--literal-pathspecs',
    'ls-tree',
    '-z',
    '--full-tree',
    sha,
    '--',
    ...asked.map((one) => one.path),
  ]);
  const links = new Map<string, string>();
  for (const line of listed.split('\0')) {
    const [, link, at] = /^160000 commit ([0-9a-f]{40}|[0-9a-f]{64})\t(.+)$/s.exec(line) ?? [];
    if (link !== undefined && at !== undefined) links.set(at, link);
  }
  return asked.flatMap((module) => {
    const link = links.get(module.path);
    return link === undefined ? [] : [{ module, sha: link }];
  });
}

/** A submodule's tree at its path, its repository below `.git/modules` of what it is in: both name each other relatively. */
async function layOut(
  of: Place,
  module: Submodule,
  made: Pick<Place, 'mirror' | 'sha' | 'address' | 'path'>,
  { spec, signal }: SubmodulesWanted,
): Promise<Place> {
  const folder = join(of.folder, module.path);
  await makePlain(of.folder, module.path);
  const isPlainName = /^\w[\w-]{0,99}$/.test(module.name);
  const slug = isPlainName ? module.name : createHash('sha256').update(module.name).digest('hex').slice(0, 24);
  const gitDir = join(of.gitDir, 'modules', slug);
  await mkdir(join(of.gitDir, 'modules'), { recursive: true });
  await initTree(folder, made.sha, signal, `--separate-git-dir=${gitDir}`);
  await writeFile(join(folder, '.git'), `gitdir: ${relative(folder, gitDir)}\n`);
  const { url, isOwn } = made.address;
  const worktree = `[core]\n\tworktree = "${relative(gitDir, folder)}"\n`;
  await appendFile(join(gitDir, 'config'), `${worktree}${remoteConfig(url, isOwn)}`);
  await takeFrom(folder, { mirror: made.mirror, depth: spec.depth, tags: 'none', wanted: [made.sha] }, signal);
  await layFiles(folder, made.sha, signal);
  const known = [`[submodule "${module.name}"]`, '\tactive = true', `\turl = "${url}"`, ''];
  await appendFile(join(of.gitDir, 'config'), known.join('\n'));
  return { folder, gitDir, ...made };
}

/** The folder of a path, of which no part is a link: a hostile tree may have one where another part of it has a submodule. */
async function makePlain(folder: string, path: string): Promise<void> {
  let at = folder;
  for (const part of path.split('/')) {
    at = join(at, part);
    const found = await lstat(at).catch(() => null);
    if (found === null) await mkdir(at);
    else if (!found.isDirectory())
      throw new SourcesFailure(`submodule ${path}: something else lies at its path`, false);
  }
}
