import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { GitlabProjects } from '../../gitlab-bridge/gitlab-projects.ts';
import { believe } from '../../gitlab-bridge/own-ca.ts';
import { lookUpSo } from '../../gitlab-bridge/own-place.ts';
import type { PracticeGitlab } from '../../gitlab-bridge/practice/practice-gitlab.ts';
import { pushFiles } from '../../gitlab-bridge/practice/sample-project.ts';
import { type SystemTools, systemTools } from '../../node/hosting/system-tools.ts';
import { projectBeside } from '../../node/hosting/vault/project-beside.ts';
import { storedPath } from '../../node/hosting/vault/stored-names.ts';
import { testCertificate } from '../hosting/test-certificate.ts';
import { api, practice, project, temporary } from '../practice/rig.ts';

/** The practice GitLab and real git; a copy in place of a snapshot. */
const { signal } = new AbortController();
const env = {
  ...{ PATH: process.env.PATH, HOME: '/nonexistent', GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' },
  ...{ GIT_AUTHOR_NAME: 't', GIT_AUTHOR_EMAIL: 't@t', GIT_COMMITTER_NAME: 't', GIT_COMMITTER_EMAIL: 't@t' },
};
const git = (repository: string, ...args: string[]): string =>
  execFileSync('git', ['-c', 'safe.directory=*', ...args], { cwd: repository, env, encoding: 'utf8' }).trim();
const refsIn = (repository: string): string[] =>
  git(repository, 'for-each-ref', '--format=%(refname) %(objectname)', 'refs/heads', 'refs/tags').split('\n');
const tools: SystemTools = {
  ...systemTools,
  run: async (file, [, what, ...args]) => {
    if (file !== 'btrfs') throw new Error(`${file} is not expected`);
    if (what === 'snapshot') return execFileSync('cp', ['-a', ...args.slice(-2)], { encoding: 'utf8' });
    return execFileSync('rm', ['-rf', args.at(-1) as string], { encoding: 'utf8' });
  },
};
const ci = "lab: { script: ['true'] }";
let gitlab: PracticeGitlab;
let tree: string;
let id: number;
const of = (base: string, stored = storedPath(id)): string => join(base, 'repositories', stored);
let dataDir: string;
let said: string[];

const beside = (more: { project?: string; backup?: string; token?: string; url?: string } = {}): Promise<string> =>
  projectBeside({
    ...{ tree, backup: 'replaced-3', project: 'root/lab', tools, signal, ...more },
    projects: new GitlabProjects({ url: gitlab.url, token: gitlab.adminToken, timeoutMs: 5000 }),
    door: { url: more.url ?? gitlab.url, token: more.token ?? gitlab.adminToken },
    restic: () => {
      throw new Error('no backup is asked for here');
    },
    say: (phase) => said.push(phase),
  });
const projects = async (): Promise<string[]> =>
  (await api(gitlab, 'GET', '/projects?per_page=100')).json.map((one: { path: string }) => one.path).sort();

beforeEach(async () => {
  said = [];
  dataDir = temporary();
  tree = temporary();
  gitlab = await practice({ dataDir });
  id = await project(gitlab, ci, 'lab');
  const path = of(dataDir);
  const head = git(path, 'rev-parse', 'main');
  git(path, 'update-ref', 'refs/heads/feature/a', git(path, 'commit-tree', `${head}^{tree}`, '-p', head, '-m', 'more'));
  git(path, 'tag', '-a', 'v1', '-m', 'one', head);
  git(path, 'update-ref', 'refs/merge-requests/1/head', head);
  for (const part of ['live/data/git-data', 'bulk']) mkdirSync(join(tree, 'replaced-3', part), { recursive: true });
  cpSync(join(dataDir, 'repositories'), join(tree, 'replaced-3/live/data/git-data/repositories'), { recursive: true });
});

describe('one project of then', () => {
  it('is a new one beside the present, ref by ref, with its CI/CD off; the present one is not touched', async () => {
    const then = refsIn(of(dataDir));
    await pushFiles(`${gitlab.url}/root/lab.git`, gitlab.adminToken, { 'README.md': 'now', '.gitlab-ci.yml': ci });
    git(of(dataDir), 'update-ref', '-d', 'refs/heads/feature/a');
    const now = refsIn(of(dataDir));
    const because = await beside();
    expect(because).toMatch(
      /^root\/lab as it was at 1970-01-01 00:00 UTC is root\/lab-restored-19700101-0000 now: 2 branches and 1 tag, each compared\./,
    );
    const made = (await api(gitlab, 'GET', '/projects/root%2Flab-restored-19700101-0000')).json;
    expect(made).toMatchObject({ visibility: 'private', default_branch: 'main', builds_access_level: 'disabled' });
    expect(refsIn(of(dataDir, storedPath(made.id)))).toEqual(then);
    expect((await api(gitlab, 'GET', `/projects/${made.id}/pipelines`)).json).toEqual([]);
    expect(refsIn(of(dataDir))).toEqual(now);
    expect([existsSync(join(tree, 'then')), readdirSync(join(tree, 'replaced-3')).sort()]).toEqual([
      ...[false, ['bulk', 'live']],
    ]);
    // Once more is one more.
    expect(await beside({ project: String(id) })).toContain('root/lab-restored-19700101-0000-2 now');
  });

  it('is pushed where the mesh says that its GitLab is, though no DNS knows that name', async () => {
    const name = 'adas-home.local';
    lookUpSo(name, () => ({ address: '127.0.0.1', forContainers: null }));
    try {
      await beside({ url: gitlab.url.replace('127.0.0.1', name) });
    } finally {
      lookUpSo(name, null);
    }
    expect(await projects()).toHaveLength(2);
  });

  it('is pushed over https by the CA that a person named for it, and by a name of the mesh', async () => {
    const name = 'nobody-knows.invalid';
    const { certificate, key } = testCertificate([name]);
    const gate = createServer({ cert: certificate, key }, (asked, answer) => {
      const { method, url: path, headers } = asked;
      const on = request(`${gitlab.url}${path}`, { method, headers }, (got) => {
        answer.writeHead(got.statusCode ?? 502, got.headers);
        got.pipe(answer);
      });
      asked.pipe(on);
    }).listen(0, '127.0.0.1');
    await once(gate, 'listening');
    const url = `https://${name}:${(gate.address() as AddressInfo).port}`;
    const file = join(temporary(), 'ca.pem');
    writeFileSync(file, certificate);
    lookUpSo(name, () => ({ address: '127.0.0.1', forContainers: null }));
    try {
      await expect(beside({ url })).rejects.toThrow(/could not be pushed: .*certificate/);
      believe(url, { pem: certificate, file });
      expect(await beside({ url })).toContain('each compared');
    } finally {
      believe(url, null);
      lookUpSo(name, null);
      gate.close();
    }
  });

  it('one that is gone comes back by its number, a wiki that GitLab does not take is said', async () => {
    const base = join(tree, 'replaced-3/live/data/git-data');
    cpSync(of(base), of(base).replace(/\.git$/, '.wiki.git'), { recursive: true });
    expect((await api(gitlab, 'DELETE', `/projects/${id}`)).status).toBe(202);
    await expect(beside()).rejects.toMatchObject({ hint: expect.stringContaining('gitlab diff') });
    const because = await beside({ project: String(id) });
    expect(because).toContain(`project ${id} as it was`);
    expect(because).toMatch(/; its wiki could not be brought: .*404/);
    expect(await projects()).toEqual([`project-${id}-restored-19700101-0000`]);
  });

  it('where it fails nothing of it is left, and why is said without the token', async () => {
    const wrong = 'glpat-of-nobody-0123456789';
    const refused: Error = await beside({ token: wrong }).catch((error) => error);
    expect(refused.message).toMatch(/its refs could not be pushed: .*(Authentication|Access denied|could not read)/);
    expect(refused.message).not.toContain(wrong);
    expect(refused.message).not.toContain(Buffer.from(`oauth2:${wrong}`).toString('base64'));
    await expect(beside({ backup: 'round-1-1-1' })).rejects.toThrow(/is not on this machine/);
    await expect(beside({ project: '99' })).rejects.toThrow(/99 had no repository in replaced-3/);
    // A hole in what was there then.
    const path = of(join(tree, 'replaced-3/live/data/git-data'));
    execFileSync('sh', ['-c', `find ${path}/objects -type f -delete`]);
    await expect(beside()).rejects.toThrow(/could not be pushed/);
    expect(await projects()).toEqual(['lab']);
    expect(existsSync(join(tree, 'then'))).toBe(false);
  });
});
