import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import { api } from '../practice/rig.ts';
import { RunLab, until } from './run-lab.ts';

let lab: RunLab;
afterEach(() => lab.stop());

const run = promisify(execFile);
async function post(path: string, body: object): Promise<{ id: number; http_url_to_repo: string }> {
  const answer = await api(lab.gitlab, 'POST', path, body);
  if (answer.status !== 201) throw new Error(`${path}: ${answer.status}`);
  return answer.json;
}

/** A project with some files and submodules (path to address and commit); answers its id and its commit. */
async function project(name: string, files: Record<string, string>, links: Record<string, [url: string, sha: string]>) {
  const made = await post('/projects', { name, builds_access_level: 'disabled' });
  const folder = join(lab.folder, name);
  mkdirSync(folder);
  const git = (...args: string[]) =>
    run('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { cwd: folder });
  await git('init', '-q', '-b', 'main');
  await fill(folder, git, files, links);
  const address = new URL(made.http_url_to_repo);
  Object.assign(address, { username: 'root', password: lab.gitlab.adminToken });
  await git('push', '-q', address.href, 'HEAD:main');
  return { id: made.id, sha: (await git('rev-parse', 'HEAD')).stdout.trim() };
}

async function fill(
  folder: string,
  git: (...args: string[]) => Promise<unknown>,
  files: Record<string, string>,
  links: Record<string, [url: string, sha: string]>,
): Promise<void> {
  const modules = Object.entries(links).map(
    ([path, [url]]) => `[submodule "${path}"]\n\tpath = ${path}\n\turl = ${url}\n`,
  );
  const all = { ...files, '.gitmodules': `${files['.gitmodules'] ?? ''}${modules.join('')}` };
  for (const [file, text] of Object.entries(all)) if (text !== '') writeFileSync(join(folder, file), text);
  await git('add', '-A');
  for (const [path, [, sha]] of Object.entries(links))
    await git('update-index', '--add', '--cacheinfo', `160000,${sha},${path}`);
  await git('commit', '-q', '-m', 'files');
}

const nothing = { '.gitlab-ci.yml': 'old: { script: ["true"], rules: [{ when: never }] }\n' };
const ci = `
whole:
  variables: { GIT_SUBMODULE_STRATEGY: recursive }
  script:
    - cat libs/one/file libs/one/in/deep/file libs/two/file
    - git submodule status --recursive | sed 's/^ //; s/ (.*//' | cut -c 42-
    - git submodule foreach --quiet 'git log --format=%s | wc -l'
    - git status --short; git -C libs/one status --short
    - '! grep -r glcb[t]- . || echo "a token lies in the tree"'
some:
  variables: { GIT_SUBMODULE_STRATEGY: normal, GIT_SUBMODULE_PATHS: "libs :(exclude)libs/two" }
  script: ["cat libs/one/file; ls libs/one/in libs/two | wc -l"]
none:
  script: ["ls libs/one | wc -l"]
`;

it('submodules come as git lays them: relative, nested, of a private project by the job’s token, and of no other', async () => {
  lab = await RunLab.start(nothing);
  const deep = await project('deep', { file: 'of deep\n' }, {});
  const one = await project('one', { file: 'of one\n' }, { 'in/deep': ['../deep.git', deep.sha] });
  const two = await project('two', { file: 'of two\n' }, {});
  for (const { id } of [deep, one, two])
    await post(`/projects/${id}/job_token_scope/allowlist`, { target_project_id: lab.projectId });
  const tree = join(lab.folder, 'tree');
  // Longer than what is read of a git's words without being told to.
  const long = `[long]\n${`\tline = ${'x'.repeat(1000)}\n`.repeat(80)}`;
  await fill(
    tree,
    lab.git,
    { '.gitlab-ci.yml': ci, '.gitmodules': long },
    {
      'libs/one': ['../one.git', one.sha],
      'libs/two': [`${lab.gitlab.url}/root/two.git`, two.sha],
    },
  );
  await lab.git('push', '-q', lab.address, 'HEAD:main');
  await lab.agent();
  const whole = await lab.traceOfNext();
  expect(whole).toContain('Updating/initializing submodules recursively with git depth set to 20...\n');
  expect(whole).toContain(`Submodule path 'libs/one/in/deep': checked out '${deep.sha}'\n`);
  expect(whole).toMatch(/\nof one\nof deep\nof two\n/);
  expect(whole).toMatch(/\nlibs\/one\nlibs\/one\/in\/deep\nlibs\/two\n/);
  expect(whole).toMatch(/wc -l'\n1\n1\n\$ git status[^\n]*\n\$ !/);
  expect(whole).not.toMatch(/^a token lies/m);
  const some = await lab.traceOfNext();
  expect(some).toMatch(/Updating\/initializing submodules with git depth/);
  expect(some).toMatch(/of one\n(?:.*\n)*.*\n/);
  expect(some).not.toContain("Submodule path 'libs/two'");
  expect(await lab.traceOfNext()).not.toContain('ubmodule');

  // Another project's job, on the machine that has all of them by now: GitLab is asked, and refuses.
  const secret = await project(
    'secret',
    { '.gitlab-ci.yml': 'steal: { variables: { GIT_SUBMODULE_STRATEGY: normal }, script: ["cat it/file"] }\n' },
    {
      it: ['../one.git', one.sha],
    },
  );
  await api(lab.gitlab, 'PUT', `/projects/${secret.id}`, { builds_access_level: 'enabled' });
  await post(`/projects/${secret.id}/pipeline`, { ref: 'main' });
  lab.projectId = secret.id;
  const stolen = await lab.traceOfNext('failed');
  expect(stolen).toMatch(/submodule it \(http[^)]*\/root\/one\.git\): git ls-remote failed.*(?:403|allowlist)/s);
  expect(stolen).toContain(
    "; GitLab gives it to this job's token where the job's user may read root/one and its list has this project: in root/one, Settings > CI/CD > Job token permissions, add root/secret",
  );
  expect(stolen).not.toContain('of one');
});

it('a submodule’s files of Git LFS come with it', async () => {
  lab = await RunLab.start(nothing);
  const large = 'large of one\n'.repeat(1000);
  const oid = createHash('sha256').update(large).digest('hex');
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${large.length}\n`;
  const one = await project('one', { '.gitattributes': '*.bin filter=lfs -text\n', 'a.bin': pointer }, {});
  await post(`/projects/${one.id}/job_token_scope/allowlist`, { target_project_id: lab.projectId });
  const Authorization = `Basic ${Buffer.from(`root:${lab.gitlab.adminToken}`).toString('base64')}`;
  const at = `${lab.gitlab.url}/root/one.git/gitlab-lfs/objects/${oid}/${large.length}`;
  expect((await fetch(at, { method: 'PUT', headers: { Authorization }, body: large })).status).toBe(200);
  const ci = `
variables: { GIT_SUBMODULE_STRATEGY: normal }
whole: { script: ["wc -c <libs/one/a.bin"] }
pointers: { variables: { GIT_LFS_SKIP_SMUDGE: "true" }, script: ["head -n 1 libs/one/a.bin"] }
`;
  await fill(join(lab.folder, 'tree'), lab.git, { '.gitlab-ci.yml': ci }, { 'libs/one': ['../one.git', one.sha] });
  await lab.git('push', '-q', lab.address, 'HEAD:main');
  await lab.agent();
  const whole = await lab.traceOfNext();
  expect(whole).toContain('Git LFS in libs/one/: 1 files, 1 objects (');
  expect(whole).toContain(`\n${large.length}\n`);
  expect(await lab.traceOfNext()).toContain('\nversion https://git-lfs.github.com/spec/v1\n');
});

it('a submodule’s mirror is kept as a project’s is: tidied once a day, made anew where it is damaged', async () => {
  lab = await RunLab.start(nothing);
  const one = await project('one', { file: 'of one\n' }, {});
  const two = await project('two', { file: 'of two\n' }, {});
  for (const { id } of [one, two])
    await post(`/projects/${id}/job_token_scope/allowlist`, { target_project_id: lab.projectId });
  const both = `
variables: { GIT_SUBMODULE_STRATEGY: normal }
first: &job { script: ["cat one/file two/file"] }
second: *job
`;
  const links: Record<string, [string, string]> = { one: ['../one.git', one.sha], two: ['../two.git', two.sha] };
  await fill(join(lab.folder, 'tree'), lab.git, { '.gitlab-ci.yml': both }, links);
  await lab.git('push', '-q', lab.address, 'HEAD:main');
  await lab.agent();
  expect(await lab.traceOfNext()).toContain('of one\nof two\n');

  const folder = join(lab.home, 'mirrors');
  const mirrors = readdirSync(folder).filter((name) => name.endsWith('.git'));
  expect(mirrors).toHaveLength(3);
  const stamps = mirrors.map((name) => join(folder, name, 'autogit-maintained'));
  for (const stamp of stamps) rmSync(stamp);
  // Left by a git that was killed with its machine.
  for (const name of mirrors) {
    const ref = join(folder, name, 'refs', 'autogit', 'modules', one.sha);
    if (existsSync(ref)) writeFileSync(`${ref}.lock`, '');
  }
  expect(await lab.traceOfNext()).toContain('of one\nof two\n');
  await until('all are tidied', () => stamps.every((stamp) => existsSync(stamp)));
});
