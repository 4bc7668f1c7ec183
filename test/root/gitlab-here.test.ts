import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findGitlabHere, findHostedHere } from '../../node/machine/gitlab-here.ts';
import { makeTestImages, testImages } from './test-image.ts';

/** GitLab containers as people start them, by the engine's own answers; the image inside is none of GitLab's. */
describe('a GitLab that runs on this machine', () => {
  const docker = (...line: string[]): string => execFileSync('docker', line, { encoding: 'utf8' }).trim();
  const folder = mkdtempSync(join(tmpdir(), 't-gitlab-here-'));
  const name = `t-gitlab-here-${process.pid}`;
  const tag = 'gitlab/gitlab-ce:17.5.1-ce.0';
  let wasTagged = true;
  const start = (suffix: string, ...line: string[]): string =>
    docker('run', '-d', '--name', `${name}-${suffix}`, '--entrypoint', 'sleep', ...line, '60');
  const nothing = { version: join(folder, 'none'), config: join(folder, 'none') };
  const mine = async (suffix: string) =>
    (await findGitlabHere(null, nothing)).find(({ container }) => container === `${name}-${suffix}`);

  beforeAll(() => {
    makeTestImages();
    mkdirSync(join(folder, 'config'));
    writeFileSync(join(folder, 'config', 'gitlab.rb'), "# external_url 'x'\nexternal_url 'https://git.lan'\n");
    wasTagged = docker('images', '-q', tag) !== '';
    if (!wasTagged) docker('tag', testImages.bash, tag);
  }, 180_000);
  afterAll(() => {
    for (const suffix of ['env', 'file', 'local', 'other', 'own'])
      try {
        docker('rm', '-f', `${name}-${suffix}`);
      } catch {
        // A test that failed before it began one.
      }
    if (!wasTagged) docker('rmi', tag);
    rmSync(folder, { recursive: true, force: true });
  });

  it('is found with its own address, its version and its data, and nothing of its secrets is told', async () => {
    const secret = 'root-password-of-a-lab';
    const config = `external_url 'http://gitlab.lan:8929'; gitlab_rails['initial_root_password'] = '${secret}'`;
    start('env', '-e', `GITLAB_OMNIBUS_CONFIG=${config}`, '-e', `GITLAB_ROOT_PASSWORD=${secret}`, '-p', '8929', tag);
    const found = await mine('env');
    expect(found).toMatchObject({
      version: '17.5.1',
      isRunning: true,
      url: 'http://gitlab.lan:8929',
      isLocalOnly: false,
    });
    expect(JSON.stringify(found)).not.toContain(secret);
    docker('stop', '-t', '0', `${name}-env`);
    expect(await mine('env')).toMatchObject({ isRunning: false, status: expect.stringMatching(/^Exited \(137\)/) });
  });

  it("the mesh's own is none of these: what connects it would be wrong advice", async () => {
    const labels = ['--label', 'autogit.gitlab=k3v9q2m4', '--label', `autogit.mesh=${name}`];
    start('own', ...labels, '-v', `${folder}:/var/opt/gitlab`, tag);
    expect(await mine('own')).toBeUndefined();
    const own = { container: `${name}-own`, mesh: name, data: folder };
    expect((await findHostedHere(null)).filter(({ mesh }) => mesh === name)).toEqual([own]);
  });

  it('is known by its folders where its image has another name, and by gitlab.rb', async () => {
    const mounts = ['-v', `${folder}/config:/etc/gitlab`, '-v', `${folder}/data:/var/opt/gitlab`];
    start('file', ...mounts, testImages.bash);
    expect(await mine('file')).toMatchObject({ version: null, url: 'https://git.lan', data: `${folder}/data` });
  });

  it('is told from one that only this machine reaches, and from what is no GitLab', async () => {
    start('local', '-p', '127.0.0.1::80', tag);
    start('other', testImages.bash);
    const port = docker('port', `${name}-local`, '80').split(':').at(-1);
    expect(await mine('local')).toMatchObject({ isLocalOnly: true, url: `http://${hostname()}:${port}` });
    expect(await mine('other')).toBeUndefined();
  });

  it('shows none where the engine does not answer, and the package by its own files', async () => {
    const version = join(folder, 'VERSION');
    writeFileSync(version, '17.6.0-ee\n');
    const paths = { version, config: join(folder, 'config', 'gitlab.rb') };
    expect(await findGitlabHere('unix:///nowhere/docker.sock', paths)).toMatchObject([
      { container: null, version: '17.6.0', url: 'https://git.lan' },
    ]);
    expect(await findGitlabHere('unix:///nowhere/docker.sock', nothing)).toEqual([]);
  });
});
