import { spawn } from 'node:child_process';
import type { ServerResponse } from 'node:http';
import { createGunzip } from 'node:zlib';
import { maySee } from './access.ts';
import type { Answer, Call } from './api-call.ts';
import { gitEnvironment, readRefs } from './git-repository.ts';
import { isLfsPush, lfsHttp, lfsPath } from './lfs-http.ts';
import { createPipeline, noSha } from './pipeline-creation.ts';
import type { PracticeContext } from './practice-context.ts';
import type { Project, User } from './records.ts';

/** Git's smart HTTP by `git http-backend`; a push makes pipelines. */
const services = ['git-upload-pack', 'git-receive-pack'] as const;

const needsPassword = (): Answer => ({
  status: 401,
  text: 'HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect or you are required to use a token instead of a password.\n',
  headers: { 'WWW-Authenticate': 'Basic realm="GitLab"' },
});
const forbidden = (why: string): Answer => ({ status: 403, text: `${why}\n` });

interface GitCaller {
  user: User;
  /** The project that a job token reaches; null for a person. */
  jobProject: number | null;
  scopes: readonly string[];
}

/** Basic auth: a job token with user gitlab-ci-token, or any user name with a personal token. */
const gitCaller = (context: PracticeContext, call: Call): GitCaller | 'nobody' | 'wrong' => {
  const basic = /^Basic (.+)$/.exec(call.headers.authorization ?? '')?.[1];
  if (basic === undefined) return 'nobody';
  const text = Buffer.from(basic, 'base64').toString('utf8');
  const at = text.indexOf(':');
  const [name, secret] = [text.slice(0, at), text.slice(at + 1)];
  if (name === 'gitlab-ci-token') {
    const job = context.state.jobOfToken(secret);
    const user = job === undefined ? undefined : context.state.user(job.userId);
    if (job === undefined || user === undefined) return 'wrong';
    if (job.status !== 'running' && job.status !== 'canceling') return 'wrong';
    return { user, jobProject: job.projectId, scopes: ['read_repository'] };
  }
  const owner = context.state.ownerOfToken(secret);
  return owner === undefined || owner.hasEnded ? 'wrong' : { ...owner, jobProject: null };
};

const scoped = (caller: GitCaller, push: boolean): boolean =>
  caller.scopes.some(
    (scope) => scope === 'api' || scope === 'write_repository' || (!push && scope === 'read_repository'),
  );

/** Null = allowed. */
const refusal = (
  caller: GitCaller | 'nobody' | 'wrong',
  project: Project | undefined,
  push: boolean,
): Answer | null => {
  if (caller === 'wrong') return needsPassword();
  if (caller === 'nobody') return !push && project?.visibility === 'public' ? null : needsPassword();
  if (caller.jobProject !== null) {
    const isLet = project?.visibility === 'public' || project?.jobTokensOf?.includes(caller.jobProject) === true;
    if (project === undefined || (caller.jobProject !== project.id && !isLet))
      return forbidden('You are not allowed to download code from this project: its job token allowlist lacks yours.');
    return push ? forbidden('You are not allowed to push code to this project.') : null;
  }
  const seen = project !== undefined && maySee({ user: caller.user, scopes: caller.scopes, job: null }, project);
  if (!seen) return { status: 404, text: 'The project you were looking for could not be found.\n' };
  if (!scoped(caller, push)) return forbidden('The access token lacks the scope for this.');
  if (push && !caller.user.admin && project.ownerId !== caller.user.id)
    return forbidden('You are not allowed to push code to this project.');
  return null;
};

/** Hands the request to http-backend and its answer back. Resolves when the answer is complete but not ended. */
const backend = async (
  context: PracticeContext,
  call: Call,
  project: Project,
  path: string,
  user: string,
): Promise<void> => {
  const encoding = call.headers['content-encoding'];
  const child = spawn('git', ['http-backend'], {
    env: {
      ...gitEnvironment(),
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      GIT_PROJECT_ROOT: context.state.repositoryPath(project.id),
      GIT_HTTP_EXPORT_ALL: '1',
      PATH_INFO: path,
      REQUEST_METHOD: call.method,
      QUERY_STRING: call.query.toString(),
      REMOTE_USER: user,
      REMOTE_ADDR: call.remote,
      CONTENT_TYPE: call.headers['content-type'] ?? '',
      // Without CONTENT_LENGTH: told a length, http-backend would read on for ever where the body ends before that.
      GIT_PROTOCOL: String(call.headers['git-protocol'] ?? ''),
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let words = '';
  child.stderr.on('data', (part: Buffer) => {
    if (words.length < 2000) words += part.toString('utf8');
  });
  const stop = (): void => {
    child.kill('SIGKILL');
  };
  call.signal.addEventListener('abort', stop);
  const input = encoding === 'gzip' ? call.request.pipe(createGunzip()) : call.request;
  input.on('error', () => child.stdin.destroy());
  // What nobody reads any more is let go: whoever sends it hears the answer behind it.
  child.stdin.on('error', () => input.resume());
  input.pipe(child.stdin);
  // As Workhorse does: an nginx that has read a head sends no more of the request, and both would wait for ever.
  const isRead = new Promise<void>((resolve) => {
    input.once('end', resolve).once('close', resolve);
  });
  try {
    const ended = new Promise<void>((resolve, reject) => {
      child.on('error', reject);
      child.on('close', () => resolve());
    });
    let head: Buffer | null = Buffer.alloc(0);
    for await (const part of child.stdout as AsyncIterable<Buffer>) {
      if (head === null) {
        if (!call.response.write(part)) await drained(call.response);
        continue;
      }
      head = Buffer.concat([head, part]);
      const end = head.indexOf('\r\n\r\n');
      if (end === -1 && head.length < 65_536) continue;
      await isRead;
      writeHead(call, head.subarray(0, Math.max(0, end)).toString('latin1'));
      call.response.write(head.subarray(end + 4));
      head = null;
    }
    await ended;
    if (head !== null) throw new Error(`git http-backend gave no answer: ${words.trim()}`);
  } finally {
    call.signal.removeEventListener('abort', stop);
  }
};

/** There is room again, or nobody who reads. Leaves no listener: a large clone waits thousands of times. */
const drained = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    if (response.destroyed) resolve();
    else response.on('drain', done).on('close', done);
  });

const writeHead = (call: Call, head: string): void => {
  call.response.statusCode = 200;
  for (const line of head.split('\r\n')) {
    const at = line.indexOf(':');
    const [name, value] = [line.slice(0, at), line.slice(at + 1).trim()];
    if (name.toLowerCase() === 'status') call.response.statusCode = Number(value.split(' ')[0]);
    else if (at > 0) call.response.setHeader(name, value);
  }
};

/** Compares the repository's refs with what we knew, and makes a pipeline of every new or moved one. */
export const followRefs = async (
  context: PracticeContext,
  project: Project,
  user: User,
  base: string,
): Promise<void> => {
  const refs = await readRefs(context.state.repositoryPath(project.id));
  const before = project.refs;
  project.refs = refs;
  if (Object.keys(before).length === 0 && refs[`refs/heads/${project.defaultBranch}`] === undefined) {
    const first = Object.keys(refs).find((name) => name.startsWith('refs/heads/'));
    if (first !== undefined) project.defaultBranch = first.slice('refs/heads/'.length);
  }
  project.updatedAt = context.state.clock.now();
  context.state.saveProject(project);
  for (const [name, sha] of Object.entries(refs)) {
    if (before[name] === sha) continue;
    const tag = name.startsWith('refs/tags/');
    const ref = name.replace(/^refs\/(heads|tags)\//, '');
    const request = {
      project,
      user,
      sha,
      beforeSha: before[name] ?? noSha,
      ref,
      tag,
      source: 'push' as const,
      variables: [],
    };
    const outcome = await createPipeline(context, request, base);
    const because = outcome.kind === 'refused' ? (outcome.errors[0] ?? 'refused') : null;
    project.noPipeline = because === null ? null : { ref, sha, because };
    context.state.saveProject(project);
    if (outcome.kind === 'refused') context.state.log(`no pipeline for ${project.path}@${ref}: ${outcome.errors[0]}`);
  }
};

/** Answers Git's calls, `/<namespace>/<path>.git/…`; null when the path is none of Git's. */
export const gitHttp = (context: PracticeContext): ((call: Call & { path: string }) => Promise<Answer | null>) => {
  const locks = new Map<number, Promise<unknown>>();
  const alone = <T>(project: Project, work: () => Promise<T>): Promise<T> => {
    const turn = (locks.get(project.id) ?? Promise.resolve()).catch(() => {}).then(work);
    locks.set(
      project.id,
      turn.catch(() => {}),
    );
    return turn;
  };
  return async (call) => {
    const lfs = lfsPath.exec(call.path);
    if (lfs !== null) {
      const [, name = '', what = ''] = lfs;
      const project = context.state.projectByPath(name);
      const { push, body } = await isLfsPush(call, what);
      const refused = refusal(gitCaller(context, call), project, push);
      if (refused !== null) return refused;
      if (project === undefined) return { status: 404, text: 'The project you were looking for could not be found.\n' };
      return lfsHttp(call, what, body, context.state.repositoryPath(project.id), `${call.base}/${name}`);
    }
    const found = /^\/(.+?)(?:\.git)?\/(info\/refs|git-upload-pack|git-receive-pack)$/.exec(call.path);
    if (found === null) return null;
    const service = found[2] === 'info/refs' ? call.query.get('service') : found[2];
    if (!services.some((known) => known === service))
      return { status: 403, text: 'Git over HTTP needs the smart protocol.\n' };
    if (call.method !== (found[2] === 'info/refs' ? 'GET' : 'POST')) return { status: 405, text: '405\n' };
    const push = service === 'git-receive-pack';
    const project = context.state.projectByPath(found[1] as string);
    const caller = gitCaller(context, call);
    const refused = refusal(caller, project, push);
    if (refused !== null) return refused;
    if (project === undefined) return { status: 404, text: 'The project you were looking for could not be found.\n' };
    const user = typeof caller === 'string' ? undefined : caller.user;
    const work = () => backend(context, call, project, `/${found[2]}`, user?.username ?? '');
    if (!push || call.method === 'GET' || user === undefined) await work();
    else
      await alone(project, async () => {
        try {
          await work();
        } finally {
          // Before the answer ends, so that who pushed finds the pipeline; also when the client went away meanwhile.
          await followRefs(context, project, user, call.base);
          context.state.flush();
        }
      });
    call.response.end();
    return { handled: true };
  };
};
