import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { PlannedService } from '../../gitlab-bridge/job-services.ts';
import { DockerExecutor } from '../../node/executors/docker-executor.ts';
import { freezeCgroup, isCgroupFrozen, thawCgroup } from '../../node/executors/run-cgroup.ts';
import type { ExecutorSpec, Freezer, Workspace } from '../../node/ports.ts';
import { executorContract } from '../contract/executor-contract.ts';
import { filesContract } from '../contract/executor-files.ts';
import { filesOf, runStep, specOf, step, tarOf, textOf } from '../contract/executor-steps.ts';
import { beside, plannedService } from '../fixtures/planned-service.ts';
import { until } from '../real/run-lab.ts';
import { leftOf, makeTestImages, removeNetwork, testImages } from './test-image.ts';

const node = `test-${process.pid}`;
const never = new AbortController().signal;

afterAll(() => removeNetwork(node));

executorContract('docker', () => ({
  kind: 'docker',
  options: { node },
  image: makeTestImages().bash,
}));

executorContract('docker, an image like Alpine’s', () => ({
  kind: 'docker',
  options: { node },
  image: makeTestImages().busybox,
}));

filesContract('docker', () => ({ kind: 'docker', options: { node }, image: makeTestImages().bash }));
filesContract('docker, an image like Alpine’s', () => ({
  kind: 'docker',
  options: { node },
  image: makeTestImages().busybox,
}));

describe('docker executor', () => {
  const notes: string[] = [];
  const own = `${node}-own`;
  const executor = new DockerExecutor({
    node: own,
    extraHosts: ['gitlab.lab:192.0.2.7'],
    note: (_, sentence) => notes.push(sentence),
  });
  let open: Workspace[] = [];
  let counter = 0;
  const prepare = async (image: string, more: Partial<ExecutorSpec> = {}): Promise<Workspace> => {
    makeTestImages();
    const workspace = await executor.prepare(specOf(`d${process.pid}-${++counter}`, image, more), never);
    open.push(workspace);
    return workspace;
  };
  const inspect = (handle: string, format: string): string =>
    execFileSync('docker', ['inspect', '-f', format, handle], { encoding: 'utf8' }).trim();

  afterEach(async () => {
    for (const workspace of open) await workspace.remove();
    open = [];
  });
  afterAll(async () => {
    removeNetwork(own);
    expect(
      spawnSync('docker', ['ps', '-aq', '--filter', `label=autogit.node=${own}`], { encoding: 'utf8' }).stdout,
    ).toBe('');
  });

  it('needs only a POSIX sh and tee, and the tree belongs to the image’s own user', async () => {
    const workspace = await prepare(testImages.sh, { variables: [{ key: 'CERT', value: 'pem', file: true }] });
    await workspace.putTar('deep/er', tarOf({ 'in.txt': 'in' }));
    const { text, end } = await runStep(
      workspace,
      0,
      'id -u; cat deep/er/in.txt; echo; cat "$CERT"; echo',
      'echo mine >deep/er/mine; echo more >>deep/er/in.txt; mkdir top; false | true',
    );
    expect(end).toEqual({ kind: 'exited', exitCode: 0 });
    expect(text).toBe('1234\nin\npem\n');
    expect(await filesOf(workspace, 'deep')).toEqual({
      'deep/er/in.txt': 'inmore\n',
      'deep/er/mine': 'mine\n',
    });
  });

  it('limits what a container may do and use', async () => {
    const workspace = await prepare(testImages.bash, { cpuMillis: 500, memoryBytes: 64 << 20 });
    const host = JSON.parse(inspect(workspace.handle, '{{json .HostConfig}}')) as Record<string, unknown>;
    expect(host).toMatchObject({
      Privileged: false,
      NanoCpus: 500_000_000,
      Memory: 64 << 20,
      MemorySwap: 64 << 20,
      RestartPolicy: { Name: 'no' },
      CapAdd: null,
      Binds: null,
      SecurityOpt: null,
    });
    const { text } = await runStep(
      workspace,
      0,
      'grep -E "CapEff|NoNewPrivs" /proc/self/status',
      'cat /etc/hosts',
      'echo "gpus $NVIDIA_VISIBLE_DEVICES"',
      'ls /var/run/docker.sock 2>&1 || true',
    );
    const caps = BigInt(`0x${/CapEff:\s*([0-9a-f]+)/.exec(text)?.[1]}`);
    const bit = { NET_RAW: 13n, MKNOD: 27n, AUDIT_WRITE: 29n, SYS_ADMIN: 21n, CHOWN: 0n, SETUID: 7n };
    const has = (name: keyof typeof bit): boolean => (caps & (1n << bit[name])) !== 0n;
    expect([has('NET_RAW'), has('MKNOD'), has('AUDIT_WRITE'), has('SYS_ADMIN')]).toEqual([false, false, false, false]);
    expect([has('CHOWN'), has('SETUID')]).toEqual([true, true]);
    expect(text).toMatch(/NoNewPrivs:\s*0/);
    expect(text).toContain('192.0.2.7\tgitlab.lab');
    expect(text).toContain('gpus void');
    expect(text).toMatch(/docker\.sock.*No such file/);
  });

  it('gives its engine to jobs whose project the owner named, and they build an image with it', async () => {
    const { bash } = makeTestImages();
    const said: string[] = [];
    const consenting = new DockerExecutor({
      node: own,
      engineForJobs: ['lab/*'],
      note: (_, sentence) => said.push(sentence),
    });
    const begin = async (project: string): Promise<Workspace> => {
      const spec = specOf(`d${process.pid}-${++counter}`, bash, { engine: { project } });
      const workspace = await consenting.prepare(spec, never);
      open.push(workspace);
      return workspace;
    };
    const built = `autogit-test-built:${process.pid}`;
    const workspace = await begin('lab/deep/app');
    // A client as an image has it: the program with its libraries.
    const folder = mkdtempSync(join(tmpdir(), 'autogit-client-'));
    const collect =
      'p=$(realpath "$(command -v docker)"); cp "$p" "$1/docker"; ldd "$p" 2>/dev/null | grep -o "/[^ ]*" | while read -r l; do cp -L "$l" "$1/"; done';
    execFileSync('bash', ['-c', collect, 'client', folder]);
    const tar = execFileSync('tar', ['-C', folder, '-c', '.'], { maxBuffer: 1 << 30 });
    rmSync(folder, { recursive: true });
    await workspace.putTar('client', Readable.from([tar]));
    const { text, end } = await runStep(
      workspace,
      0,
      'mkdir context; echo words >context/file',
      `printf 'FROM ${bash}\\nCOPY file /file\\nRUN cat /file >/ran\\n' >context/Dockerfile`,
      'chmod 755 client/docker; docker() { LD_LIBRARY_PATH=$PWD/client DOCKER_BUILDKIT=0 client/docker "$@"; }',
      `docker build -q -t ${built} context >/dev/null 2>said || { cat said; exit 1; }; docker run --rm ${built} cat /ran; docker rmi -f ${built} >/dev/null`,
    );
    expect([text, end]).toEqual(['words\n', { kind: 'exited', exitCode: 0 }]);
    const host = JSON.parse(inspect(workspace.handle, '{{json .HostConfig}}')) as Record<string, unknown>;
    expect(host).toMatchObject({ Privileged: false, CapAdd: null });
    // Whoever else came with such a runner goes on without, and reads why.
    const other = await begin('stranger/app');
    expect((await runStep(other, 0, 'test -e /var/run/docker.sock || echo none')).text).toBe('none\n');
    expect(said).toEqual([expect.stringContaining('is for jobs of lab/*, not of stranger/app')]);
  });

  it('ends a job that takes more memory than it may, and the run can say so', async () => {
    const workspace = await prepare(testImages.bash, { memoryBytes: 32 << 20 });
    const { end } = await runStep(workspace, 0, 'x=$(head -c 100000000 /dev/zero | tr "\\0" x); echo "$x"');
    expect(end).toMatchObject({ kind: 'exited', exitCode: 137 });
    expect((await runStep(workspace, 1, 'echo alive')).text).toBe('alive\n');
  });

  it('keeps containers of different jobs apart on the one bridge', async () => {
    const [one, two] = [await prepare(testImages.bash), await prepare(testImages.bash)];
    const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}';
    const [first, second] = [inspect(one.handle, format), inspect(two.handle, format)];
    expect(first.split('.').slice(0, 3)).toEqual(second.split('.').slice(0, 3));
    // A closed port of a machine that can be reached refuses at once; here nothing answers.
    const knock = (address: string): string =>
      `(echo >/dev/tcp/${address}/9) 2>&1 & p=$!; sleep 1.5; kill $p 2>/dev/null || true; wait || true`;
    expect((await runStep(two, 0, knock(second))).text).toContain('refused');
    expect((await runStep(two, 1, knock(first))).text).not.toContain('refused');
  });

  it('says what to do about an image that is not there', async () => {
    await expect(prepare('127.0.0.1:9/none/such:1')).rejects.toMatchObject({
      code: 'registry-away',
      hint: expect.stringContaining('docker pull 127.0.0.1:9/none/such:1'),
    });
    expect(notes).toContain('Pulling image 127.0.0.1:9/none/such:1');
    await expect(prepare('--help')).rejects.toMatchObject({ code: 'image-missing' });
    await expect(executor.prepare(specOf('no-image', null), never)).rejects.toMatchObject({ code: 'image-missing' });
  });

  it('says that an image without a shell is no place for a job, and leaves nothing of it', async () => {
    const empty = execFileSync('tar', ['-c', '-C', '/etc', 'hostname']);
    execFileSync('docker', ['import', '-', 'autogit-test:empty'], { input: empty });
    await expect(prepare('autogit-test:empty')).rejects.toMatchObject({
      code: 'image-unusable',
      hint: 'image autogit-test:empty has no sh, which a job needs',
    });
    expect(await executor.sweep(new Set())).toEqual([]);
  });

  it('says that an image without tee is no place for a job either (public-reports, cosmetic)', async () => {
    const made = execFileSync('docker', ['create', testImages.sh, 'sh'], { encoding: 'utf8' }).trim();
    const without = 'docker export "$1" | tar --delete bin/tee | docker import - autogit-test:no-tee';
    execFileSync('bash', ['-c', without, 'bash', made]);
    execFileSync('docker', ['rm', made]);
    const workspace = await prepare('autogit-test:no-tee');
    const { end } = await runStep(workspace, 0, 'echo never');
    expect(end).toEqual({ kind: 'exited', exitCode: 127, because: expect.stringContaining('has no tee') });
  });

  it('gives a slow reader every byte, from the record', async () => {
    const workspace = await prepare(testImages.bash);
    await workspace.start(step('seq 1 600000'), 0);
    const chunks: Uint8Array[] = [];
    let count = 0;
    for await (const chunk of workspace.output(0, 0, never)) {
      chunks.push(chunk);
      if (count++ < 5) await sleep(300);
    }
    const expected = execFileSync('seq', ['1', '600000'], { maxBuffer: 1 << 26 });
    expect(Buffer.concat(chunks).equals(expected)).toBe(true);
    expect(await workspace.ended(0)).toEqual({ kind: 'exited', exitCode: 0 });
  });

  it('is frozen and thawed by the files of its control group, without the engine', async () => {
    const workspace = await prepare(testImages.bash);
    await workspace.start(step('i=0', 'while [ $i -lt 30 ]; do i=$((i+1)); echo "$i"; sleep 0.05; done'), 0);
    const freezer = await workspace.freezer?.();
    expect(freezer?.kind).toBe('cgroup');
    const path = freezer?.kind === 'cgroup' ? freezer.path : '';
    expect(path).toContain(inspect(workspace.handle, '{{.Id}}'));
    freezeCgroup(path);
    for (let tries = 0; tries < 100 && !isCgroupFrozen(path); tries++) await sleep(20);
    expect(isCgroupFrozen(path)).toBe(true);
    thawCgroup(path);
    expect(await textOf(workspace, 0)).toBe(Array.from({ length: 30 }, (_, at) => `${at + 1}\n`).join(''));
    // The agent's own thaw ends a watchdog's freeze too, and what is frozen so can be removed.
    freezeCgroup(path);
    await workspace.thaw();
    expect(isCgroupFrozen(path)).toBe(false);
    freezeCgroup(path);
  });

  it('says lost when the container is taken away, and when it is stopped', async () => {
    const [gone, stopped] = [await prepare(testImages.bash), await prepare(testImages.bash)];
    for (const workspace of [gone, stopped]) await workspace.start(step('echo up', 'sleep 600'), 0);
    const texts = [textOf(gone, 0), textOf(stopped, 0)];
    const ends = [gone.ended(0), stopped.ended(0)];
    for (const workspace of [gone, stopped]) for await (const _ of workspace.output(0, 0, never)) break;
    execFileSync('docker', ['rm', '-f', gone.handle], { stdio: 'ignore' });
    execFileSync('docker', ['kill', stopped.handle], { stdio: 'ignore' });
    expect(await ends[0]).toEqual({ kind: 'lost', because: 'its container is gone' });
    expect(await ends[1]).toMatchObject({ kind: 'lost', because: expect.stringContaining('exit code 137') });
    expect((await Promise.all(texts))[1]).toBe('up\n');
  });

  it('names containers of runs whose ids no container can have', async () => {
    const spec = specOf(`12D3KooW/x:${process.pid}`, makeTestImages().bash);
    const workspace = await executor.prepare(spec, never);
    open.push(workspace);
    expect(workspace.handle).toMatch(/^autogit-r12D3KooW-x-/);
    expect((await runStep(workspace, 0, 'echo yes')).text).toBe('yes\n');
    expect(await executor.adopt(spec, workspace.handle)).not.toBeNull();
    expect(await new DockerExecutor({ node: 'someone-else' }).adopt(spec, workspace.handle)).toBeNull();
  });

  it('goes on without a service that does not answer, stands still with all of them, and none outlives its job', async () => {
    makeTestImages();
    const said: string[] = [];
    const mine = new DockerExecutor({ node: own, servicesWaitMs: 400, note: (_, sentence) => said.push(sentence) });
    const environment = [{ key: 'MODE', value: 'x' }];
    const busy = ['bash', '-c', 'i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done'];
    const services = [
      plannedService(testImages.web, 'late', { command: ['sleep', '600'], environment }),
      plannedService(testImages.bash, 'busy', { command: busy, environment }),
    ];
    const spec = specOf(`d${process.pid}-svc`, testImages.bash, beside(...services));
    const workspace = await mine.prepare(spec, never);
    expect(said.join('\n')).toMatch(
      /Service autogit-test-web:1 probably didn't start properly.*port 8080 does not answer/s,
    );
    expect(said.join('\n')).toContain(`Service ${testImages.bash} exposes no port and has no HEALTHCHECK`);
    expect((await runStep(workspace, 0, '(echo >/dev/tcp/late/8080) 2>&1 || true')).text).toContain('refused');
    const groups = await workspace.freezer?.();
    const paths = groups?.kind === 'cgroup' ? [groups.path, ...(groups.also ?? [])] : [];
    expect(paths).toHaveLength(3);
    const paused = (): string =>
      execFileSync('docker', ['ps', '-q', '--filter', `label=autogit.run=${spec.run}`, '--filter', 'status=paused'], {
        encoding: 'utf8',
      });
    await workspace.freeze();
    expect(paused().trim().split('\n')).toHaveLength(3);
    await workspace.thaw();
    expect(paused()).toBe('');
    // Frozen by the watchdog, without the engine: another agent's adoption finds all of it, and thaws it.
    for (const path of paths) freezeCgroup(path);
    const other = new DockerExecutor({ node: own });
    const adopted = await other.adopt(spec, workspace.handle);
    await adopted?.thaw();
    expect(paths.map((path) => isCgroupFrozen(path))).toEqual([false, false, false]);
    execFileSync('docker', ['rm', '-f', workspace.handle], { stdio: 'ignore' });
    // An agent that was killed before the job's own container stood clears what is beside it, to prepare anew.
    expect(await other.adopt(spec, workspace.handle)).toBeNull();
    expect(leftOf(spec.run)).toEqual([]);
  });

  it('is watched before a service begins, which stands still where the job does by then, and what is frozen by files is swept (J1)', async () => {
    const idle = plannedService(makeTestImages().bash, 'idle', { command: ['sleep', '600'] });
    const spec = specOf(`d${process.pid}-watched`, testImages.bash, beside(idle));
    const stateOf = (): string[] =>
      leftOf(spec.run).flatMap((line) => /^autogit-.*-svc-0\|(\w+)/.exec(line)?.[1] ?? []);
    let expected: Freezer | null = null;
    const prepared = executor.prepare(spec, never, async (place) => {
      expect(stateOf()).toEqual(['Created']);
      expected = (await place.freezer?.()) ?? null;
      await place.freeze();
    });
    const workspace = await prepared;
    const known = expected as Freezer | null;
    const also = known?.kind === 'cgroup' ? (known.also ?? []) : [];
    expect(also).toHaveLength(1);
    expect(await workspace.freezer?.()).toEqual(known);
    expect(inspect(`${workspace.handle}-svc-0`, '{{.State.Paused}}')).toBe('true');
    await workspace.thaw();
    expect(inspect(`${workspace.handle}-svc-0`, '{{.State.Paused}}')).toBe('false');
    for (const path of [...also, known?.kind === 'cgroup' ? known.path : '']) freezeCgroup(path);
    await until('it stands still', () => also.every((path) => isCgroupFrozen(path)));
    expect(await new DockerExecutor({ node: own }).sweep(new Set())).toEqual([spec.run]);
    expect(leftOf(spec.run)).toEqual([]);
  });

  it('prepares anew on the new bridge where a try before, whose calls were not answered, made the job’s own container', async () => {
    const late = plannedService(makeTestImages().bash, 'late', { command: ['sleep', '600'] });
    const spec = specOf(`d${process.pid}-anew`, testImages.bash, beside(late));
    const before = await executor.prepare(spec, never);
    open.push(await new DockerExecutor({ node: own }).prepare(spec, never));
    const { text } = await runStep(open[0] as Workspace, 0, '(echo >/dev/tcp/late/8080) 2>&1 || true');
    expect(text).toContain('refused');
    expect(inspect(before.handle, '{{.State.Running}}')).toBe('true');
  });

  it('leaves nothing of its services when one cannot begin, or the job is ended meanwhile', async () => {
    const specWith = (title: string, said: Partial<PlannedService>) =>
      specOf(
        `d${process.pid}-${title}`,
        testImages.bash,
        beside(plannedService(makeTestImages().web, title, { title, ...said })),
      );
    const broken = specWith('broken', { entrypoint: ['/no/such'] });
    const refused = { code: 'image-unusable', message: expect.stringContaining('cannot start service broken') };
    await expect(executor.prepare(broken, never)).rejects.toMatchObject(refused);
    const nobody = specWith('nobody', { user: 'no-such-user' });
    await expect(executor.prepare(nobody, never)).rejects.toMatchObject({ code: 'image-unusable' });
    const stop = new AbortController();
    const late = specWith('waits', { command: ['sleep', '60'] });
    const ending = executor.prepare(late, stop.signal);
    ending.catch(() => undefined);
    const isUp = (line: string): boolean => /waits\|Up/.test(line);
    await until("the job's own container runs, and its service is still waited for", () => leftOf(late.run).some(isUp));
    stop.abort();
    await expect(ending).rejects.toThrow();
    await until('nothing is left', () => [broken, late].every(({ run }) => leftOf(run).length === 0), 10_000);
  });

  it('says in words when no engine answers', async () => {
    const nobody = new DockerExecutor({ node, dockerHost: 'unix:///nonexistent/docker.sock' });
    await expect(nobody.check()).rejects.toMatchObject({ code: 'no-docker' });
    expect(() => new DockerExecutor({ node, dockerHost: 'not an address' })).toThrow(/no address of an engine/);
    expect(await executor.check()).toMatch(/^Docker Engine \d+/);
  });
});
