import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, vi } from 'vitest';
import { pushFiles } from '../../gitlab-bridge/practice/sample-project.ts';
import { api, call, practice, project, put, runner, statuses, temporary } from './rig.ts';

const execute = promisify(execFile);
const env = {
  PATH: process.env.PATH,
  HOME: '/nonexistent',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_TERMINAL_PROMPT: '0',
  GIT_AUTHOR_NAME: 'test',
  GIT_AUTHOR_EMAIL: 'test@test.invalid',
  GIT_COMMITTER_NAME: 'test',
  GIT_COMMITTER_EMAIL: 'test@test.invalid',
};
const git = async (folder: string, ...args: string[]): Promise<{ ok: boolean; text: string }> => {
  try {
    const { stdout, stderr } = await execute('git', args, { cwd: folder, env });
    return { ok: true, text: stdout + stderr };
  } catch (error) {
    return { ok: false, text: String((error as { stderr?: string }).stderr ?? error) };
  }
};
const withToken = (url: string, user: string, token: string): string => url.replace('://', `://${user}:${token}@`);
const one = 'job: {script: echo hi}\n';

describe('git over HTTP', () => {
  it('a push makes a pipeline; the job fetches its commit by refspec and depth, also after the branch moved on', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, one, 'lab', { 'data.txt': 'first' });
    const job = await (await runner(gitlab)).take();
    const repository = `${gitlab.url}/root/lab.git`;
    await pushFiles(repository, gitlab.adminToken, { 'data.txt': 'second' }, 'No CI file any more');
    expect((await api(gitlab, 'GET', `/projects/${id}/pipelines`)).json).toHaveLength(1);
    const folder = temporary();
    await git(folder, 'init', '--quiet', '.');
    const fetched = await git(
      folder,
      'fetch',
      '--depth',
      String(job.git_info.depth),
      job.git_info.repo_url,
      ...job.git_info.refspecs,
    );
    expect(fetched.ok, fetched.text).toBe(true);
    const checkedOut = await git(folder, 'checkout', '--quiet', '--detach', job.git_info.sha);
    expect(checkedOut.ok, checkedOut.text).toBe(true);
    expect(readFileSync(join(folder, 'data.txt'), 'utf8')).toBe('first');
  });

  it('a large clone leaves no listener for each time that its reader was slow', async () => {
    const gitlab = await practice();
    await project(gitlab, one, 'large', { big: randomBytes(24 << 20).toString('latin1') });
    const warned: string[] = [];
    const hear = (warning: Error): void => void warned.push(warning.message);
    process.on('warning', hear);
    try {
      const cloned = await git(
        temporary(),
        'clone',
        '--quiet',
        withToken(`${gitlab.url}/root/large.git`, 'root', gitlab.adminToken),
        '.',
      );
      expect(cloned.ok, cloned.text).toBe(true);
      await new Promise((resolve) => setImmediate(resolve));
    } finally {
      process.off('warning', hear);
    }
    expect(warned).toEqual([]);
  });

  it('says nothing of its answer before it has read the request: nginx sends no more of one that is answered', async () => {
    const gitlab = await practice();
    await project(gitlab, one, 'own');
    const headers = {
      'Content-Type': 'application/x-git-receive-pack-request',
      Authorization: `Basic ${Buffer.from(`root:${gitlab.adminToken}`).toString('base64')}`,
    };
    const push = request(`${gitlab.url}/root/own.git/git-receive-pack`, { method: 'POST', headers });
    let heard = false;
    const answer = once(push, 'response').then(([response]) => {
      heard = true;
      return response as IncomingMessage;
    });
    push.write('00');
    await new Promise((done) => setTimeout(done, 700));
    expect(heard).toBe(false);
    push.end('00');
    const response = await answer;
    response.resume();
    expect(response.statusCode).toBe(200);
  });

  it('whoever goes away in the middle of a push leaves no git behind', async () => {
    const dataDir = temporary();
    const gitlab = await practice({ dataDir });
    await project(gitlab, one, 'lab');
    const push = request(`${gitlab.url}/root/lab.git/git-receive-pack`, {
      method: 'POST',
      auth: `root:${gitlab.adminToken}`,
      headers: { 'content-type': 'application/x-git-receive-pack-request', 'content-length': 1_000_000 },
    });
    push.on('error', () => {});
    push.write(`fff0${'x'.repeat(1000)}`);
    const those = () =>
      readdirSync('/proc').filter((pid) => {
        try {
          return (
            /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`GIT_PROJECT_ROOT=${dataDir}`)
          );
        } catch {
          return false;
        }
      });
    await vi.waitFor(() => expect(those()).not.toEqual([]), 5000);
    push.destroy();
    await vi.waitFor(() => expect(those()).toEqual([]), 5000);
  });

  it('a job token reads its own project only, pushes nothing, and ends with its job', async () => {
    const gitlab = await practice();
    await project(gitlab, one, 'own');
    await project(gitlab, 'none: {tags: [never], script: x}\n', 'other');
    const job = await (await runner(gitlab)).take();
    const folder = temporary();
    const other = withToken(`${gitlab.url}/root/other.git`, 'gitlab-ci-token', job.token);
    expect((await git(folder, 'ls-remote', other)).text).toContain('403');
    const cloned = await git(folder, 'clone', '--quiet', job.git_info.repo_url, 'tree');
    expect(cloned.ok, cloned.text).toBe(true);
    await git(join(folder, 'tree'), 'commit', '--quiet', '--allow-empty', '-m', 'x');
    expect((await git(join(folder, 'tree'), 'push', 'origin', 'HEAD:refs/heads/x')).text).toContain('403');
    await put(gitlab, job, 'success');
    expect((await git(folder, 'ls-remote', job.git_info.repo_url)).text).toMatch(/Authentication failed|401/);
  });

  it('asks for a password, hides private projects, and lets only owners push', async () => {
    const gitlab = await practice();
    await project(gitlab, one, 'mine');
    const other = gitlab.createUser('anna');
    const reader = gitlab.createUser('bert', { admin: true, scopes: ['read_repository'] });
    const folder = temporary();
    const url = `${gitlab.url}/root/mine.git`;
    const asked = await call(gitlab, 'GET', '/root/mine.git/info/refs?service=git-upload-pack');
    expect([asked.status, asked.headers.get('www-authenticate')]).toEqual([401, 'Basic realm="GitLab"']);
    expect((await git(folder, 'ls-remote', withToken(url, 'anna', other.token))).text).toContain('not found');
    expect((await git(folder, 'ls-remote', withToken(url, 'x', 'wrong'))).ok).toBe(false);
    expect((await git(folder, 'clone', '--quiet', withToken(url, 'bert', reader.token), 'tree')).ok).toBe(true);
    await git(join(folder, 'tree'), 'commit', '--quiet', '--allow-empty', '-m', 'x');
    expect((await git(join(folder, 'tree'), 'push', 'origin', 'HEAD:x')).text).toContain('403');
    expect((await call(gitlab, 'GET', '/root/mine.git/info/refs')).status).toBe(403);
    expect(
      (await call(gitlab, 'GET', '/root/../../etc/passwd.git/info/refs?service=git-upload-pack')).status,
    ).toBeGreaterThanOrEqual(400);
  });

  it('branches and tags make pipelines, [skip ci] a skipped one, refs/pipelines cannot be pushed, large pushes work', async () => {
    const gitlab = await practice();
    const id = await project(
      gitlab,
      'job: {script: x, rules: [{if: $CI_COMMIT_TAG, variables: {K: tag}}, {if: $CI_COMMIT_BRANCH}]}\n',
    );
    const folder = temporary();
    const url = withToken(`${gitlab.url}/root/lab.git`, 'root', gitlab.adminToken);
    await git(folder, 'clone', '--quiet', url, 'tree');
    const tree = join(folder, 'tree');
    // Over 1 MiB: git sends it chunked.
    writeFileSync(
      join(tree, 'large'),
      Buffer.from(Array.from({ length: 3_000_000 }, () => Math.floor(Math.random() * 256))),
    );
    await git(tree, 'add', '--all');
    await git(tree, 'commit', '--quiet', '-m', 'Large');
    await git(tree, 'tag', '-a', 'v1', '-m', 'v1');
    const pushed = await git(tree, 'push', '--quiet', 'origin', 'HEAD:refs/heads/dev/a', 'v1');
    expect(pushed.ok, pushed.text).toBe(true);
    const list = (await api(gitlab, 'GET', `/projects/${id}/pipelines`)).json;
    expect(list.map((row: { ref: string }) => row.ref).sort()).toEqual(['dev/a', 'main', 'v1']);
    const { stdout: sha } = await execute('git', ['rev-parse', 'HEAD'], { cwd: tree });
    expect(list.find((row: { ref: string }) => row.ref === 'v1').sha).toBe(sha.trim());
    await git(tree, 'commit', '--quiet', '--allow-empty', '-m', 'Docs [skip ci]');
    await git(tree, 'push', '--quiet', 'origin', 'HEAD:main');
    expect((await api(gitlab, 'GET', `/projects/${id}/pipelines?status=skipped`)).json).toHaveLength(1);
    const forged = await git(tree, 'push', 'origin', 'HEAD:refs/pipelines/99');
    expect(forged.ok).toBe(false);
    await git(tree, 'push', '--quiet', 'origin', ':dev/a');
    expect((await api(gitlab, 'GET', `/projects/${id}/pipelines`)).json).toHaveLength(4);
  });

  it('a wrong CI file makes a failed pipeline that says why; by API it is refused', async () => {
    const gitlab = await practice();
    const id = await project(gitlab, 'job: {script: x, resource_group: one}\n');
    const [failed] = (await api(gitlab, 'GET', `/projects/${id}/pipelines`)).json;
    const pipeline = (await api(gitlab, 'GET', `/projects/${id}/pipelines/${failed.id}`)).json;
    expect(pipeline.status).toBe('failed');
    expect(pipeline.yaml_errors).toContain('jobs:job:resource_group is a keyword that the practice GitLab lacks');
    const refused = await api(gitlab, 'POST', `/projects/${id}/pipeline`, { ref: 'main' });
    expect([refused.status, refused.json.message.base[0]]).toEqual([400, pipeline.yaml_errors]);
    expect((await api(gitlab, 'POST', `/projects/${id}/pipeline`, { ref: 'gone' })).json.message.base).toEqual([
      'Reference not found',
    ]);
    expect(await statuses(gitlab, id)).toEqual({ pipeline: 'failed' });
    const page = await call(gitlab, 'GET', `/root/lab/-/pipelines/${failed.id}`);
    expect(page.text).toContain('is not valid');
    expect(page.text).toContain('jobs:job:resource_group is a keyword');
  });

  it('deleting a project removes its repository, traces and jobs; its job token dies with it', async () => {
    const dataDir = temporary();
    const gitlab = await practice({ dataDir });
    const id = await project(gitlab, one);
    const job = await (await runner(gitlab)).take();
    const hash = createHash('sha256').update(String(id)).digest('hex');
    const repository = join(dataDir, 'repositories/@hashed', hash.slice(0, 2), hash.slice(2, 4), `${hash}.git`);
    expect(existsSync(repository)).toBe(true);
    expect((await api(gitlab, 'DELETE', `/projects/${id}`)).status).toBe(202);
    expect(existsSync(repository)).toBe(false);
    expect((await put(gitlab, job, 'running')).status).toBe(403);
    expect((await api(gitlab, 'GET', `/projects/${id}`)).json.message).toBe('404 Project Not Found');
  });
});
