import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import type { ExecutorSpec, Workspace } from '../../node/ports.ts';
import { runStep, specOf, tarOf } from '../contract/executor-steps.ts';
import { leftOf, makeTestImages, removeNetwork } from './test-image.ts';

/** What images and the programs in them do that is no usual job's. */
describe('a job’s image', () => {
  const node = `image-${process.pid}`;
  const executor = new DockerExecutor({ node });
  const open: Workspace[] = [];
  const prepare = async (run: string, more: Partial<ExecutorSpec>): Promise<Workspace> => {
    const spec = specOf(`i${process.pid}-${run}`, makeTestImages().bash, more);
    const workspace = await executor.prepare(spec, new AbortController().signal);
    open.push(workspace);
    return workspace;
  };
  afterEach(async () => {
    for (const workspace of open.splice(0)) await workspace.remove();
  });
  afterAll(() => removeNetwork(node));

  it('may have a program that empties the container’s own file system, as kaniko does between stages: the job goes on with its files and variables', async () => {
    const workspace = await prepare('emptied', { variables: [{ key: 'GREETING', value: 'still here', file: false }] });
    await workspace.putTar('.', tarOf({ 'kept.txt': 'of the tree\n' }));
    const emptying =
      "find / -xdev -type f ! -path '/bin/*' ! -path '/lib*' ! -path '/usr/*' -exec rm -f {} + || true; [ ! -e /etc/passwd ]";
    expect((await runStep(workspace, 0, emptying)).end).toEqual({ kind: 'exited', exitCode: 0 });
    const { text, end } = await runStep(workspace, 1, 'echo "$GREETING"; cat kept.txt');
    expect([text, end]).toEqual(['still here\nof the tree\n', { kind: 'exited', exitCode: 0 }]);
    const labels = ['inspect', '-f', '{{index .Config.Labels "autogit.run"}}', workspace.handle];
    const run = execFileSync('docker', labels, { encoding: 'utf8' }).trim();
    expect(leftOf(run)).toContainEqual(expect.stringMatching(/^[0-9a-f]{64}$/));
    await workspace.remove();
    expect(leftOf(run)).toEqual([]);
  });

  it('may have an entrypoint that takes the shell for words of its own: the job’s own failure, with what it said', async () => {
    const of = async (run: string, entrypoint: string[]) =>
      (await runStep(await prepare(run, { entrypoint }), 0, 'echo never')).end;
    const fix = 'where it takes no command, leave it out: image: { name: NAME, entrypoint: [""] }';
    const git = await of('git', ['git']);
    expect(git).toMatchObject({ kind: 'exited', exitCode: 1, because: expect.stringContaining(fix) });
    expect(git).toMatchObject({ because: expect.stringContaining("saying: git: 'sh' is not a git command. See") });
    // It ended well, and did nothing of the job.
    expect(await of('true', ['true'])).toEqual({
      kind: 'exited',
      exitCode: 1,
      because: `the image's entrypoint ended (exit code 0) instead of starting the job's shell; ${fix}`,
    });
  });
});
