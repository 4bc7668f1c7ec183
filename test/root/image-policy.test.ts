import { execFileSync } from 'node:child_process';
import Docker from 'dockerode';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { ensureImage } from '../../node/executors/docker-image.ts';
import type { ExecutorSpec, Workspace } from '../../node/ports.ts';
import { never, runStep, specOf } from '../contract/executor-steps.ts';
import { imagesOf, OneImageRegistry } from './one-image-registry.ts';
import { makeTestImages, removeNetwork, testImages } from './test-image.ts';

describe('a job’s image', () => {
  const registry = new OneImageRegistry();
  const docker = new Docker();
  let address = '';
  const { images } = imagesOf(docker, null);
  let notes: string[] = [];
  beforeAll(async () => {
    makeTestImages();
    address = await registry.begin();
  });
  afterEach(() => {
    notes = [];
  });
  afterAll(() => registry.end());

  const versionBy = async (image: string, pullPolicies: string[], checkMs = 10_000): Promise<string> => {
    const spec = specOf('r1', image, { pullPolicies });
    const note = (sentence: string) => notes.push(sentence);
    const found = await ensureImage({ docker, images, spec, image, note, signal: never, checkMs });
    return (await docker.getImage(found.id).inspect()).Config.Labels?.version ?? 'none';
  };

  it('is what was pushed last, unless the job says otherwise; without its registry, what is here', async () => {
    const image = `${address}/t-dock/one`;
    await expect(versionBy(image, ['never'])).rejects.toMatchObject({ code: 'image-missing' });
    expect(await versionBy(image, [])).toBe('one');
    registry.version = 'two';
    expect(await versionBy(image, ['never'])).toBe('one');
    expect(await versionBy(image, ['if-not-present'])).toBe('one');
    expect(await versionBy(image, [])).toBe('two');
    registry.version = 'three';
    expect(await versionBy(image, ['always'])).toBe('three');
    await expect(versionBy(image, ['sometimes'])).rejects.toThrow('pull_policy "sometimes" is not known');
    // A registry that answers and refuses is no reason to use what another job was given.
    registry.version = 'four';
    registry.refusal = 'the quota of this registry is used up: access denied';
    await expect(versionBy(image, [])).rejects.toThrow(/quota of this registry is used up/);
    await registry.end();
    expect(await versionBy(image, [])).toBe('three');
    expect(notes.at(-1)).toMatch(/cannot be asked .*the image that is here is used/);
    await expect(versionBy(image, ['always'])).rejects.toMatchObject({ code: 'registry-away', server: address });
    expect(await versionBy(image, ['always', 'if-not-present'])).toBe('three');
    docker
      .getImage(image)
      .remove({ force: true })
      .catch(() => undefined);
  }, 60_000);

  it('is what is here for all jobs once its registry did not answer one of them, until it does', async () => {
    const silent = new OneImageRegistry();
    const image = `${await silent.begin()}/t-dock/silent`;
    try {
      expect(await versionBy(image, [])).toBe('one');
      silent.version = 'two';
      silent.isSilent = true;
      expect(await versionBy(image, [], 1500)).toBe('one');
      expect(notes.at(-1)).toBe(
        `The registry of image ${image} cannot be asked (it does not answer within 1.5 s): the image that is here is used`,
      );
      // A job that pays for each question, and one for each of its services, waited ten seconds for each.
      const begun = performance.now();
      for (let n = 0; n < 5; n++) expect(await versionBy(image, [])).toBe('one');
      expect(performance.now() - begun).toBeLessThan(5000);
      expect(notes.at(-1)).toMatch(
        /^The registry of image \S+ did not answer [\d.]+ s ago, and is asked again in 3 min: the image that is here is used$/,
      );
      silent.isSilent = false;
      // Who must have the newest asks all the same, and so the others know that it is back.
      expect(await versionBy(image, ['always'])).toBe('two');
      silent.version = 'three';
      expect(await versionBy(image, [])).toBe('three');
    } finally {
      await silent.end();
      await docker.getImage(image).remove({ force: true });
    }
  }, 60_000);

  it('with a label of ours is refused: its container would be taken for one that has another project’s tree, or for GitLab’s', async () => {
    const marked = 'autogit-test:marked';
    const tree = 'LABEL autogit.tree=another autogit.tree-project=another autogit.gitlab=data';
    execFileSync('docker', ['build', '-q', '-t', marked, '-'], {
      input: `FROM ${testImages.bash}\n${tree}\n`,
      env: { ...process.env, DOCKER_BUILDKIT: '0' },
    });
    const executor = new DockerExecutor({ node: `t-marked-${process.pid}` });
    try {
      await expect(executor.prepare(specOf('marked-1', marked), never)).rejects.toMatchObject({
        code: 'image-missing',
        message: expect.stringMatching(/^image autogit-test:marked has a label "autogit\./),
      });
    } finally {
      execFileSync('docker', ['rmi', '-f', marked]);
      removeNetwork(`t-marked-${process.pid}`);
    }
  });

  it('runs its entrypoint and its user, or those that the job names; the default image stands in for none', async () => {
    const node = `t-image-${process.pid}`;
    const executor = new DockerExecutor({ node, defaultImage: testImages.busybox });
    const entry = 'autogit-test:entry';
    const dockerfile = `FROM ${testImages.bash}\nENTRYPOINT ["sh","-c","FROM_ENTRY=yes exec \\"$@\\"","entry"]\n`;
    execFileSync('docker', ['build', '-q', '-t', entry, '-'], {
      input: dockerfile,
      env: { ...process.env, DOCKER_BUILDKIT: '0' },
    });
    const open: Workspace[] = [];
    let counter = 0;
    const says = async (image: string | null, more: Partial<ExecutorSpec>): Promise<string> => {
      const workspace = await executor.prepare(specOf(`i${process.pid}-${++counter}`, image, more), never);
      open.push(workspace);
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
      return (await runStep(workspace, 0, 'echo "${FROM_ENTRY:-no} $(id -u)"; echo x >made')).text;
    };
    try {
      expect(await says(entry, {})).toBe('yes 0\n');
      expect(await says(entry, { entrypoint: [''] })).toBe('no 0\n');
      expect(await says(entry, { entrypoint: ['sh', '-c', 'FROM_ENTRY=job exec "$@"', 'e'] })).toBe('job 0\n');
      expect(await says(entry, { imageUser: 'dev' })).toBe('yes 1234\n');
      expect(await says(null, {})).toBe('no 0\n');
      // One that does not go on to the shell: the step is over at once, by the job's own doing.
      const ends = await executor.prepare(specOf(`i${process.pid}-ends`, entry, { entrypoint: ['/bin/false'] }), never);
      open.push(ends);
      const { end } = await runStep(ends, 0, 'echo never');
      expect(end).toMatchObject({
        kind: 'exited',
        because: expect.stringMatching(
          /^the image's entrypoint ended \(exit code 1\) instead of starting the job's shell/,
        ),
      });
    } finally {
      for (const workspace of open) await workspace.remove();
      removeNetwork(node);
    }
  }, 60_000);
});
