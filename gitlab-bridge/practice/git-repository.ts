import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';

/** Runs git on our own bare repositories. No shell, no user's configuration, no prompts. */
export const gitEnvironment = (): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin',
  HOME: '/nonexistent',
  LC_ALL: 'C',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
});

class GitFailed extends Error {
  override readonly name = 'GitFailed';
}

/** Of one command: the names of a large repository's files, too. */
const maxOutputBytes = 64 * 1_048_576;

/** stdout of a git command in a repository; throws GitFailed with git's own words. */
const git = (folder: string, args: readonly string[], extra: NodeJS.ProcessEnv = {}): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const child = spawn('git', ['-c', 'safe.directory=*', ...args], {
      cwd: folder,
      env: { ...gitEnvironment(), ...extra },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const out: Buffer[] = [];
    let size = 0;
    let words = '';
    child.stdout.on('data', (part: Buffer) => {
      size += part.length;
      if (size <= maxOutputBytes) out.push(part);
      else child.kill('SIGKILL');
    });
    child.stderr.on('data', (part: Buffer) => {
      if (words.length < 4000) words += part.toString('utf8');
    });
    child.on('error', (cause) => reject(new GitFailed(`git cannot be started: ${cause.message}`, { cause })));
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(out));
      else reject(new GitFailed(`git ${args[0]}: ${words.trim() || `ended with ${code}`}`));
    });
  });

/** A bare repository as GitLab serves it: persistent pipeline refs can be fetched, never pushed. */
export const initRepository = async (folder: string, defaultBranch: string): Promise<void> => {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  await git(folder, ['init', '--quiet', '--bare', `--initial-branch=${defaultBranch}`, '.']);
  const settings = [
    ['http.receivepack', 'true'],
    ['receive.hideRefs', 'refs/pipelines'],
    ['receive.advertisePushOptions', 'true'],
    ['receive.fsckObjects', 'true'],
    ['receive.autogc', 'false'],
    ['gc.auto', '0'],
    ['uploadpack.allowAnySHA1InWant', 'true'],
    ['uploadpack.allowFilter', 'true'],
  ];
  for (const [key, value] of settings) await git(folder, ['config', key as string, value as string]);
};

/** Branches and tags with the commit they stand for (a tag is peeled). */
export const readRefs = async (folder: string): Promise<Record<string, string>> => {
  const format = '%(refname) %(objectname) %(*objectname)';
  const text = (await git(folder, ['for-each-ref', `--format=${format}`, 'refs/heads', 'refs/tags'])).toString('utf8');
  const refs: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const [name, sha, peeled] = line.split(' ');
    if (name !== undefined && sha !== undefined) refs[name] = peeled === undefined || peeled === '' ? sha : peeled;
  }
  return refs;
};

interface Commit {
  title: string;
  message: string;
  author: string;
  /** ms since the epoch. */
  at: number;
}

export const readCommit = async (folder: string, sha: string): Promise<Commit> => {
  const format = '%ct%x00%an <%ae>%x00%s%x00%B';
  const text = (await git(folder, ['log', '-1', `--format=${format}`, sha])).toString('utf8');
  const [seconds, author, title, message] = text.split('\0');
  return {
    title: (title ?? '').slice(0, 1000),
    message: (message ?? '').trimEnd().slice(0, 10_000),
    author: author ?? '',
    at: Number(seconds) * 1000,
  };
};

/** The CI file of a commit; null when it has none. */
export const readFileAt = async (folder: string, sha: string, path: string): Promise<string | null> => {
  const listed = (await git(folder, ['ls-tree', sha, '--', path])).toString('utf8');
  if (!/^\d+ blob /.test(listed)) return null;
  return (await git(folder, ['cat-file', 'blob', `${sha}:${path}`])).toString('utf8');
};

/** Every file of a commit, with the name of its contents. */
export const blobsAt = async (folder: string, sha: string): Promise<Map<string, string>> => {
  const listed = (await git(folder, ['ls-tree', '-r', '-z', sha])).toString('utf8');
  const blobs = new Map<string, string>();
  for (const line of listed.split('\0')) {
    const [, type, id, path] = /^\d+ (\w+) ([0-9a-f]+)\t(.*)$/s.exec(line) ?? [];
    if (type === 'blob' && id !== undefined && path !== undefined) blobs.set(path, id);
  }
  return blobs;
};

/** Paths that differ between two commits, or since where they parted (`sinceParting`). Null: one of them is not there. */
export const changedPaths = async (
  folder: string,
  from: string,
  to: string,
  sinceParting = false,
): Promise<string[] | null> => {
  try {
    const range = sinceParting ? [`${from}...${to}`] : [from, to];
    const listed = await git(folder, ['diff', '--name-only', '--no-renames', '-z', ...range, '--']);
    return listed.toString('utf8').split('\0').filter(Boolean);
  } catch (error) {
    if (error instanceof GitFailed) return null;
    throw error;
  }
};

/** The last commit that changed a path; empty when there is none. */
export const lastChangeOf = async (folder: string, sha: string, path: string): Promise<string> =>
  (await git(folder, ['log', '-1', '--format=%H', sha, '--', path])).toString('utf8').trim();

/** `refs/pipelines/<id>`: keeps the commit fetchable for the pipeline's jobs, also after the branch moved on. */
export const keepForPipeline = async (folder: string, pipelineId: number, sha: string): Promise<void> => {
  await git(folder, ['update-ref', `refs/pipelines/${pipelineId}`, sha]);
};

/** The commit of a branch, tag or sha; null when there is none. */
export const resolveRef = async (
  folder: string,
  ref: string,
): Promise<{ ref: string; tag: boolean; sha: string } | null> => {
  const refs = await readRefs(folder);
  const branch = refs[`refs/heads/${ref}`] ?? refs[ref];
  if (branch !== undefined) return { ref: ref.replace(/^refs\/heads\//, ''), tag: false, sha: branch };
  const tag = refs[`refs/tags/${ref}`];
  return tag === undefined ? null : { ref, tag: true, sha: tag };
};
