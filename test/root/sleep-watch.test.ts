import { execFileSync } from 'node:child_process';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Member } from '../../node/agent/member.ts';
import { watchSleep } from '../../node/agent/sleep.ts';
import { systemClock } from '../../node/clock.ts';
import type { Log } from '../../node/log.ts';
import { type Going, SleepWatch } from '../../node/machine/sleep-watch.ts';
import type { LanNetwork } from '../../node/network/network.ts';
import { installLogindStandIn, LogindStandIn } from './logind.ts';

let logind: LogindStandIn | null = null;
const watches: SleepWatch[] = [];
const held = ['sleep:shutdown autogit-node delay: hands over to the other machines first'];

beforeAll(installLogindStandIn, 300_000);
afterEach(async () => {
  for (const watch of watches.splice(0)) watch.stop();
  await logind?.stop();
  logind = null;
  delete process.env.DBUS_SYSTEM_BUS_ADDRESS;
});

async function bus(delayMs = 5000): Promise<LogindStandIn> {
  logind = await new LogindStandIn().start(delayMs);
  process.env.DBUS_SYSTEM_BUS_ADDRESS = logind.address;
  return logind;
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 20_000; !(await holds()); ) {
    if (Date.now() > end) throw new Error(`waited 20 s for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A watch, what it said, and what ends its `before`. */
function watch(listener?: 'busctl' | 'dbus-monitor') {
  const said: string[] = [];
  const lines: string[] = [];
  let finish = (): void => {};
  const one = new SleepWatch({
    before: (going: Going, patienceMs) => {
      said.push(`before ${going} ${patienceMs}`);
      return new Promise((resolve) => {
        finish = resolve;
      });
    },
    after: (going) => said.push(`after ${going}`),
    debug: (line) => lines.push(line),
    ...(listener ? { listener } : {}),
  });
  watches.push(one);
  return { one, said, lines, finish: () => finish() };
}

/** Its helpers that run now. */
const helpers = (): string[] =>
  execFileSync('ps', ['-o', 'comm=', '--ppid', String(process.pid)], { encoding: 'utf8' })
    .split('\n')
    .filter((name) => ['busctl', 'dbus-monitor', 'systemd-inhibit'].includes(name.trim()));

describe.each(['busctl', 'dbus-monitor'] as const)('a watch by %s', (listener) => {
  it('holds sleep back until the node has left, and takes its lock again afterwards', async () => {
    const { inhibitors, say } = bound(await bus());
    const { one, said, finish } = watch(listener);
    expect(await one.start()).toBe(true);
    expect(await inhibitors()).toEqual(held);
    for (const [signal, going] of [
      ['PrepareForSleep', 'sleep'],
      ['PrepareForShutdown', 'shutdown'],
    ] as const) {
      said.length = 0;
      await say(signal, true);
      await until(`before ${going}`, () => said.length > 0);
      expect(said).toEqual([`before ${going} 4300`]);
      expect(await inhibitors()).toEqual(held);
      finish();
      await until('the lock is given back', async () => (await inhibitors()).length === 0);
      await say(signal, false);
      await until('the lock is taken again', async () => (await inhibitors()).length === 1);
      expect(said).toEqual([`before ${going} 4300`, `after ${going}`]);
    }
    one.stop();
    await until('nothing is left of it', async () => (await inhibitors()).length === 0 && helpers().length === 0);
  });
});

const bound = (logind: LogindStandIn) => ({
  inhibitors: () => logind.inhibitors(),
  say: (member: string, begins: boolean) => logind.say(member, begins),
});

describe('a watch', () => {
  it('keeps its lock when sleep is called off before the node has left', async () => {
    const { inhibitors, say } = bound(await bus(20_000));
    const { one, said, finish } = watch();
    expect(await one.start()).toBe(true);
    await say('PrepareForSleep', true);
    await until('before', () => said.length === 1);
    await say('PrepareForSleep', false);
    await until('after', () => said.length === 2);
    finish();
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(said).toEqual(['before sleep 19300', 'after sleep']);
    expect(await inhibitors()).toEqual(held);
  });

  it('does not listen to others that say what only logind may say', async () => {
    const { say } = bound(await bus());
    const { one, said } = watch();
    expect(await one.start()).toBe(true);
    const fake = ['--system', 'emit', '/org/freedesktop/login1', 'org.freedesktop.login1.Manager', 'PrepareForSleep'];
    execFileSync('busctl', [...fake, 'b', 'true']);
    await say('PrepareForShutdown', true);
    await until('the true one', () => said.length > 0);
    expect(said).toEqual(['before shutdown 4300']);
  });

  it('gives the lock back when it goes deaf', async () => {
    const { inhibitors } = bound(await bus());
    const { one, lines } = watch();
    expect(await one.start()).toBe(true);
    const [pid] = execFileSync('pgrep', ['-P', String(process.pid), '-x', 'busctl'], { encoding: 'utf8' }).split('\n');
    process.kill(Number(pid), 'SIGKILL');
    await until('the lock is given back', async () => (await inhibitors()).length === 0);
    expect(lines).toEqual(['the signals of systemd-logind cannot be heard']);
  });

  it('says one line where no logind is', async () => {
    process.env.DBUS_SYSTEM_BUS_ADDRESS = 'unix:path=/nowhere/bus';
    const { one, lines, said } = watch();
    expect(await one.start()).toBe(false);
    expect(lines).toEqual([
      'systemd-logind does not answer: before sleep and shutdown only a signal makes this agent leave politely',
    ]);
    expect(said).toEqual([]);
  });
});

describe('a machine that runs GitLab and hands it over', () => {
  /** An agent's part in it; what is asked of its member, in order. */
  async function sleeper(delayMs: number) {
    const { say, inhibitors } = bound(await bus(delayMs));
    const did: string[] = [];
    let finish = (): void => {};
    const member = {
      hosting: {
        handOver: {
          mayTake: (ms: number) => did.push(`may take ${ms}`),
          before: ({ going, patienceMs, signal }: { going: Going; patienceMs: number; signal: AbortSignal }) => {
            did.push(`${going} ${patienceMs}`);
            return new Promise<void>((resolve) => {
              finish = resolve;
              signal.addEventListener('abort', () => resolve());
            });
          },
        },
      },
      leave: async () => {
        did.push('leaves');
        return true;
      },
      comeBack: () => did.push('comes back'),
    };
    const stop = watchSleep({
      ...{ member: member as unknown as Member, network: { woke: () => {} } as LanNetwork, clock: systemClock() },
      log: { event: () => {}, warn: () => {}, debug: () => {} } as unknown as Log,
      signal: new AbortController().signal,
      move: async () => ({ state: 'done', because: 'asked' }),
    });
    watches.push({ stop } as SleepWatch);
    await until('the lock is held', async () => (await inhibitors()).length === 1);
    await until('what there is for it', () => did.length === 1);
    return { say, inhibitors, did, finish: () => finish() };
  }

  it('is held until that is over, and leaves then; it hears beforehand how long there will be', async () => {
    const { say, inhibitors, did, finish } = await sleeper(60_000);
    expect(did).toEqual(['may take 57300']);
    await say('PrepareForSleep', true);
    await until('it begins', () => did.length === 2);
    expect([did[1], (await inhibitors()).length]).toEqual(['sleep 57300', 1]);
    finish();
    await until('the lock is given back', async () => (await inhibitors()).length === 0);
    expect(did[2]).toBe('leaves');
    await say('PrepareForSleep', false);
    await until('it is back', () => did.length === 4);
    expect(did[3]).toBe('comes back');
  });

  it('that stays after all does not leave', async () => {
    const { say, inhibitors, did } = await sleeper(60_000);
    await say('PrepareForShutdown', true);
    await until('it begins', () => did.length === 2);
    await say('PrepareForShutdown', false);
    await until('it is back', () => did.length === 3);
    expect(did.slice(1)).toEqual(['shutdown 57300', 'comes back']);
    expect(await inhibitors()).toHaveLength(1);
  });
});
