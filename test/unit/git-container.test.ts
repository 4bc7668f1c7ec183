import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Duplex, PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import type Docker from 'dockerode';
import { expect, it } from 'vitest';
import { GitContainer } from '../../node/executors/git-container.ts';

/** An engine whose containers are processes of this machine: what these print comes in frames, as the engine's. */
class ProcessEngine {
  readonly made: { User: string; child: ChildProcessWithoutNullStreams }[] = [];
  removed = 0;

  readonly docker = {
    createContainer: async ({ Cmd, User }: { Cmd: string[]; User: string }) => {
      const child = spawn('sh', Cmd, { detached: true });
      this.made.push({ User, child });
      const output = new PassThrough();
      for (const [index, stream] of [child.stdout, child.stderr].entries())
        stream.on('data', (data: Buffer) => {
          const head = Buffer.alloc(8, 0);
          head[0] = index + 1;
          head.writeUInt32BE(data.length, 4);
          output.write(Buffer.concat([head, data]));
        });
      const closed = once(child, 'close');
      void closed.then(() => output.end());
      return {
        attach: async () => Duplex.from({ readable: output, writable: child.stdin }),
        start: async () => undefined,
        wait: async () => closed.then(([code]) => ({ StatusCode: code ?? 137 })),
        remove: async () => {
          this.removed++;
          killAll(child);
        },
      };
    },
  } as unknown as Docker;

  begin(): Promise<GitContainer> {
    const of = { image: 'i', volume: 'v', user: { uid: 7, gid: 8 }, limits: {}, name: 'n', labels: {} };
    return GitContainer.begin({ ...of, docker: this.docker });
  }
}

/** As a container ends: with all that was begun in it. */
function killAll({ pid }: ChildProcessWithoutNullStreams): void {
  try {
    process.kill(-(pid as number), 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

const never = new AbortController().signal;

it('takes its script when it has begun, whatever bytes are in its words, and leaves what comes behind it to the script', async () => {
  const engine = new ProcessEngine();
  const container = await engine.begin();
  const odd = `it's\n\t"$(exit)" \`x\` \\ ${String.fromCharCode(...Array.from({ length: 0x700 - 1 }, (_, at) => at + 1))}`;
  const script = 'printf %s "$2$ODD"; cat; echo said >&2; exit 3';
  const { input, output, ended } = container.run(script, ['one', odd], { ODD: odd }, never);
  input.write('behind \0 it\n');
  input.end('and more');
  const printed = text(output as PassThrough);
  expect(await ended).toEqual({ code: 3, said: 'said\n' });
  expect(await printed).toBe(`${odd}${odd}behind \0 it\nand more`);
  expect(engine.removed).toBe(1);
});

it('says how its script ended before the engine does, also where that is killed', async () => {
  const engine = new ProcessEngine();
  const quick = (await engine.begin()).run('exec 3<&0; true', [], {}, never);
  expect((await quick.ended).code).toBe(0);
  const killed = (await engine.begin()).run('sleep 60', [], {}, never);
  killAll(engine.made[1]!.child);
  expect((await killed.ended).code).toBe(137);
  // Its input ends with the agent.
  await engine.begin();
  engine.made[2]?.child.stdin.end();
  expect(await once(engine.made[2]!.child, 'close')).toEqual([1, null]);
});

it('is removed when its job is ended, and ends with the script that never came', async () => {
  const engine = new ProcessEngine();
  const container = await engine.begin();
  const stop = new AbortController();
  const { ended } = container.run('sleep 60', [], {}, stop.signal);
  stop.abort();
  expect((await ended).code).not.toBe(0);
  await container.gone;
  expect(engine.removed).toBe(1);
});
