import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TraceLog } from '../../node/runs/trace-log.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'autogit-trace-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const secrets = ['first-secret', 'second-secret-xx'];
const open = (limit?: number): TraceLog => new TraceLog(folder, secrets, [], limit);
const all = (log: TraceLog): string => log.read(0, log.length).toString();

describe('trace log', () => {
  it('is the same after any number of crashes at any point', () => {
    const steps = [0, 1].map((step) =>
      Array.from(
        { length: 60 },
        (_, i) => `step ${step} line ${i} ${i % 7 === 0 ? 'first-secretsecond-secret-xx' : ''}\n`,
      ).join(''),
    );
    const expected = `head\n${steps.join('between\n').replaceAll('first-secretsecond-secret-xx', '[MASKED][MASKED]')}between\n`;
    for (let seed = 1; seed <= 40; seed++) {
      rmSync(folder, { recursive: true, force: true });
      let state = seed * 7919;
      const pick = (below: number): number => {
        state = (state * 1103515245 + 12345) % 2 ** 31;
        return Math.floor((state / 2 ** 31) * below);
      };
      let log = open();
      const sent: string[] = [];
      const crash = (): void => {
        sent.push(all(log));
        log.close();
        // What a crash can leave: bytes without a place, and half a line.
        if (pick(2) === 0) appendFileSync(join(folder, 'trace.log'), 'bytes that nobody sent');
        if (pick(2) === 0) appendFileSync(join(folder, 'trace.pos'), '{"length":99');
        log = open();
      };
      log.say('head\n', 'head');
      for (const [step, text] of steps.entries()) {
        const bytes = Buffer.from(text);
        for (let at = log.offsetOf(step); at < bytes.length; at = log.offsetOf(step)) {
          log.say('head\n', 'head');
          log.output(step, bytes.subarray(at, at + 1 + pick(90)));
          if (pick(6) === 0) crash();
        }
        log.endOutput(step);
        if (pick(2) === 0) crash();
        log.say('between\n', `between-${step}`);
        log.say('between\n', `between-${step}`);
      }
      expect(all(log), `seed ${seed}`).toBe(expected);
      // What could have been sent before a crash is what stands there still.
      for (const before of sent) expect(expected.startsWith(before), `seed ${seed}`).toBe(true);
      expect(log.sum()).toEqual({
        checksum: `crc32:${crc32(expected).toString(16).padStart(8, '0')}`,
        bytesize: expected.length,
      });
      log.close();
    }
  });

  it('never lets a secret reach the disk, nor others read it', () => {
    const log = open();
    for (const byte of Buffer.from('x first-secret y')) log.output(0, Buffer.from([byte]));
    log.say('https://user:first-secret@host failed\n');
    log.endOutput(0);
    const files = ['trace.log', 'trace.pos'].map((name) => readFileSync(join(folder, name), 'utf8')).join('');
    expect(files).not.toMatch(/first-s/);
    expect(all(log)).toContain('https://user:[MASKED]@host failed');
    expect(statSync(join(folder, 'trace.log')).mode & 0o777).toBe(0o600);
    log.close();
  });

  it('is cut at its limit with a sentence, and the agent still has the last word', () => {
    let log = open(100);
    for (let n = 0; n < 50; n++) log.output(0, Buffer.from(`line ${n} of many\n`));
    log.close();
    log = open(100);
    log.output(0, Buffer.from('more'));
    log.endOutput(0);
    log.say('Job succeeded\n', 'end');
    expect(all(log)).toMatch(/^line 0[\s\S]{94}\n.*leaves out the rest\.[\s\S]*Job succeeded\n$/);
    expect(all(log).match(/leaves out/g)).toHaveLength(1);
    log.close();
  });

  it('goes on in memory when the disk is full, and says so', () => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'trace.pos'), '');
    symlinkSync('/dev/full', join(folder, 'trace.log'));
    const log = open();
    log.output(0, Buffer.from('some output\n'));
    expect(log.failure).toMatch(/ENOSPC|EINVAL|cannot/);
    log.say('ERROR: the disk is full\n');
    expect(all(log)).toMatch(/ERROR: the disk is full\n$/);
    log.close();
  });

  it('goes on in memory where there is no folder to be had', () => {
    rmSync(folder, { recursive: true });
    writeFileSync(folder, 'a file in its place');
    const log = open();
    expect(log.failure).toMatch(/cannot be kept/);
    log.say('ERROR: no folder\n');
    expect(all(log)).toBe('ERROR: no folder\n');
    expect(log.sum().bytesize).toBe(17);
    log.close();
  });
});
