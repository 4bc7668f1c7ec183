import { existsSync } from 'node:fs';
import { join, normalize, relative } from 'node:path';
import type { GitlabProjects } from '../../../gitlab-bridge/gitlab-projects.ts';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { plural } from '../../../scheduler/phrases.ts';
import { makeFolder } from '../../store/home.ts';
import type { SystemTools } from '../system-tools.ts';
import { readUnlinked, refuseLinked } from '../unlinked-file.ts';
import { historyHint } from './backup-rows.ts';
import { repositoriesOf } from './compare-data.ts';
import { type GitDoor, pushAll } from './project-push.ts';
import { isPushed } from './ref-maps.ts';
import type { Restic } from './restic.ts';
import { storedPath } from './stored-names.ts';
import { thenSide } from './then-side.ts';
import { headOf, refsOf } from './tree-refs.ts';
import { dropFolder, thenFolder } from './vault-tree.ts';

interface ProjectWish {
  tree: string;
  /** A backup's id, a round's, or `replaced-EPOCH`. */
  backup: string;
  /** Path with namespace, or the id of one that is gone. */
  project: string;
  projects: GitlabProjects;
  door: GitDoor;
  /** Throws where no place is named, or this machine cannot open it. */
  restic(): Restic;
  tools: SystemTools;
  signal: AbortSignal;
  say(phase: string): void;
}

/** Names that were taken are tried so often with a number. */
const namesMost = 9;

/**
 * The repository of then as a new project in the same namespace, and its wiki. Nothing of the present one is changed; where it fails
 * the new one goes again. What was made, as a sentence.
 */
export async function projectBeside(wish: ProjectWish): Promise<string> {
  const { tree, project, projects, tools, say } = wish;
  say(`looks for ${project}`);
  const present = await projects.find(/^\d+$/.test(project) ? Number(project) : project);
  if (present === null && !/^\d+$/.test(project))
    throw new AutogitError('backup', `GitLab knows no project ${project} now`, {
      hint: 'of one that is gone the number is told by: autogit-node gitlab diff',
    });
  const stored = storedPath(present?.id ?? Number(project));
  const folder = thenFolder(tree);
  await dropFolder(folder, tools);
  makeFolder(folder, 0o700);
  try {
    const at = await fetchThen(wish, stored, folder);
    const repository = join(repositoriesOf(join(folder, 'live')), stored);
    const path = present?.path ?? `project-${project}`;
    const made = await created(projects, `${path}-restored-${stamp(at)}`, present?.namespace ?? null);
    try {
      const told = await filled(wish, repository, made);
      return `${present?.path_with_namespace ?? `project ${project}`} as it was at ${minute(at)} UTC is ${made.path_with_namespace} now: ${told}`;
    } catch (error) {
      const left = await projects.remove(made.id).catch(() => `; ${made.path_with_namespace} is left: delete it`);
      const { message, hint } = error instanceof AutogitError ? error : { message: sentenceOf(error), hint: '' };
      throw new AutogitError('backup', `${message}${left ?? ''}`, hint === '' ? {} : { hint });
    }
  } finally {
    await dropFolder(folder, tools);
  }
}

const minute = (at: number): string => new Date(at).toISOString().slice(0, 16).replace('T', ' ');

/** `20261129-1405`, of UTC. */
const stamp = (at: number): string => new Date(at).toISOString().replace(/[-:]/g, '').replace('T', '-').slice(0, 13);

/** The data of then, as far as that repository needs them, below `folder`. When they were. */
async function fetchThen(wish: ProjectWish, stored: string, folder: string): Promise<number> {
  const { tree, backup, project, tools, signal, say } = wish;
  const live = join(folder, 'live');
  const side = thenSide(tree, backup);
  if (side !== null) await tools.run('btrfs', ['subvolume', 'snapshot', '-r', side.live, live]);
  else {
    if (!/^[0-9a-f]{6,64}$/.test(backup))
      throw new AutogitError('backup', `${backup} is not on this machine, or was thinned meanwhile`, {
        hint: historyHint,
      });
    await tools.run('btrfs', ['subvolume', 'create', live]);
  }
  const repository = join(repositoriesOf(live), stored);
  let at = side?.at ?? 0;
  if (side === null) {
    const restic = wish.restic();
    say('fetches its repository from the backup');
    const found = (await restic.snapshots(signal)).find(({ id }) => id.startsWith(backup));
    if (found === undefined) throw new AutogitError('backup', `there is no backup ${backup}`, { hint: historyHint });
    at = Date.parse(found.time) || 0;
    const base = '/live/data/git-data/repositories';
    const paths = [stored, stored.replace(/\.git$/, '.wiki.git')].map((one) => `${base}/${one}`);
    for (const path of paths) await restic.restore(found.id, folder, signal, path);
    for (const pool of await poolsOf(live, stored)) await restic.restore(found.id, folder, signal, `${base}/${pool}`);
  }
  await refuseLinked(live, relative(live, repository));
  if (!existsSync(repository))
    throw new AutogitError('backup', `${project} had no repository in ${backup}`, { hint: historyHint });
  return at;
}

/** What forks share lies in a pool, which the repository names by a path of its own. */
async function poolsOf(live: string, stored: string): Promise<string[]> {
  const alternates = join(relative(live, repositoriesOf(live)), stored, 'objects', 'info', 'alternates');
  const said = await readUnlinked(live, alternates, 64 << 10).catch(() => null);
  return (said ?? '')
    .split('\n')
    .flatMap((line) => /(@pools\/[0-9a-f]{2}\/[0-9a-f]{2}\/[0-9a-f]{64}\.git)\//.exec(normalize(line))?.[1] ?? []);
}

type Project = NonNullable<Awaited<ReturnType<GitlabProjects['create']>>>;

async function created(projects: GitlabProjects, path: string, namespace: { id: number } | null): Promise<Project> {
  for (let number = 1; number <= namesMost; number++) {
    const made = await projects.create(number === 1 ? path : `${path}-${number}`, namespace?.id ?? null);
    if (made !== null) return made;
  }
  throw new AutogitError('backup', `${path} is there already, and ${namesMost - 1} more of that name`, {
    hint: 'delete those that nobody needs',
  });
}

async function filled(
  { projects, door, signal, say }: ProjectWish,
  repository: string,
  made: Project,
): Promise<string> {
  const refs = await refsOf(repository, signal);
  if (refs === null)
    throw new AutogitError('unsupported', 'its refs are kept in a form that is not read here (reftable)', {
      hint: 'restore all of GitLab: autogit-node gitlab restore',
    });
  const pushed = new Map([...refs].filter(([ref]) => isPushed(ref)));
  say(`pushes its ${pushed.size} branches and tags`);
  await pushAll(repository, pushed, `${made.path_with_namespace}.git`, { door, signal });
  const head = await headOf(repository);
  if (head !== null && pushed.has(`refs/heads/${head}`)) await projects.setDefaultBranch(made.id, head);
  const wiki = await withWiki({ projects, door, signal }, repository.replace(/\.git$/, '.wiki.git'), made);
  const branches = [...pushed.keys()].filter((ref) => ref.startsWith('refs/heads/')).length;
  return `${plural(branches, 'branch', 'branches')} and ${plural(pushed.size - branches, 'tag')}, each compared${wiki}. Its CI/CD is off; issues, merge requests and files of LFS are not in it`;
}

/** What came of it, as the end of a sentence: a project without its wiki is better than none. */
async function withWiki(
  { projects, door, signal }: Pick<ProjectWish, 'projects' | 'door' | 'signal'>,
  wiki: string,
  made: Project,
): Promise<string> {
  const refs = await refsOf(wiki, signal);
  const pushed = new Map([...(refs ?? [])].filter(([ref]) => isPushed(ref)));
  if (pushed.size === 0) return '';
  try {
    await projects.beginWiki(made.id);
    await pushAll(wiki, pushed, `${made.path_with_namespace}.wiki.git`, { door, signal });
    return ', and its wiki';
  } catch (error) {
    signal.throwIfAborted();
    return `; its wiki could not be brought: ${sentenceOf(error).slice(0, 200)}`;
  }
}
