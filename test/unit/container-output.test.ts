import { Duplex } from 'node:stream';
import type Docker from 'dockerode';
import { describe, expect, it } from 'vitest';
import { endOfStopped } from '../../node/executors/docker-ending.ts';
import { FrameReader, type LogPiece, recordedExit, StepSplitter, stepMarks } from '../../node/executors/docker-log.ts';
import { ContainerStream } from '../../node/executors/docker-stream.ts';
import { LiveOutput } from '../../node/executors/live-output.ts';

/** Bytes of each step, whatever the chunks were. */
const collect = (pieces: LogPiece[]): Record<string, string> => {
  const steps: Record<string, string> = {};
  for (const piece of pieces) {
    if (piece.kind === 'bytes') steps[piece.index] = (steps[piece.index] ?? '') + piece.bytes.toString('latin1');
    if (piece.kind === 'end') steps[`exit ${piece.index}`] = String(piece.exitCode);
  }
  return steps;
};

describe('output of a container', () => {
  const nonce = 'ab'.repeat(16);
  const splitterOf = (index: number, keeper: 1 | 2 = 2): StepSplitter => {
    const splitter = new StepSplitter();
    splitter.expect(index, stepMarks(nonce, index, keeper));
    return splitter;
  };
  const inChunks = (splitter: StepSplitter, text: string, size: number): LogPiece[] => {
    const bytes = Buffer.from(text, 'latin1');
    const pieces: LogPiece[] = [];
    for (let at = 0; at < bytes.length; at += size) pieces.push(...splitter.push(bytes.subarray(at, at + size)));
    return [...pieces, ...splitter.flush()];
  };

  it.each([1, 2, 3, 7, 30, 64, 1000])('is one step’s own bytes, in chunks of %i', (size) => {
    const [mine, other] = [stepMarks(nonce, 1), stepMarks(nonce, 0)];
    // The job has read its first word in the record: said again, it begins nothing; nor do an earlier step's words.
    const own = `hello ${mine.begin}\n${mine.begin.slice(0, 20)}\n\xff\0${other.end} 0\n${mine.end}x 0\n${mine.end} 1234\nno newline`;
    const text = `between\n${other.begin}\nzero\n${other.end} 3\nleft over\n${mine.begin}\n${own}${mine.end} 17\nafter\n${mine.end} 0\n`;
    expect(collect(inChunks(splitterOf(1), text, size))).toEqual({ '1': own, 'exit 1': '17' });
    expect(collect(inChunks(splitterOf(0), text, size))).toEqual({ '0': 'zero\n', 'exit 0': '3' });
  });

  it('is read from a container of an agent of before too', () => {
    const mark = `autogit-step-${nonce}`;
    const text = `${mark} begin 0\na${mark} end 0 17\n${mark} begin 1\nb${mark} end 1 0\n`;
    expect(collect(inChunks(splitterOf(1, 1), text, 5))).toEqual({ '1': 'b', 'exit 1': '0' });
  });

  it('takes 20 MB of forged marks in turns of less than 50 ms, and none of them for a mark', () => {
    // security A3: a walk over all steps for each forged one stopped the agent for minutes.
    const marks = stepMarks(nonce, 0);
    const splitter = splitterOf(0);
    const live = new LiveOutput();
    live.expect(0);
    live.add(splitter.push(Buffer.from(`${marks.begin}\n`)));
    let forged = '';
    for (let k = 0; forged.length < 1 << 20; k++)
      forged += `autogit-step-${nonce} begin ${k}\n${marks.begin}\n${marks.end.slice(0, -1)} 0\n${marks.end} 9999\n`;
    const bytes = Buffer.from(forged, 'latin1');
    let longest = 0;
    for (let k = 0; k < 20; k++)
      for (let at = 0; at < bytes.length; at += 64 << 10) {
        const before = process.cpuUsage();
        live.add(splitter.push(bytes.subarray(at, at + (64 << 10))));
        const { user, system } = process.cpuUsage(before);
        longest = Math.max(longest, (user + system) / 1000);
      }
    expect(longest).toBeLessThan(50);
    expect(live.exitCode(0)).toBeNull();
    live.add(splitter.push(Buffer.from(`${marks.end} 5\n`)));
    expect(live.exitCode(0)).toBe(5);
  });

  it('believes only a record of the end that holds the step’s word', () => {
    const marks = stepMarks(nonce, 0);
    expect(recordedExit('0\n', marks, 2)).toBeNull();
    expect(recordedExit(`${marks.begin} 0\n`, marks, 2)).toBeNull();
    expect(recordedExit(`${marks.end} 7\n`, marks, 2)).toBe(7);
    expect(recordedExit('7\n', marks, 1)).toBe(7);
    expect(recordedExit(null, marks, 2)).toBeNull();
  });

  it('gives what only looked like a mark when the stream ends', () => {
    const { begin, end } = stepMarks(nonce, 0);
    const splitter = splitterOf(0);
    expect(collect(splitter.push(Buffer.from(`${begin}\nabc${end.slice(0, 15)}`)))).toEqual({ '0': 'abc' });
    expect(collect(splitter.flush())).toEqual({ '0': end.slice(0, 15) });
  });

  it('takes the engine’s frames apart, however they are cut', () => {
    const frame = (stream: number, body: string): Buffer => {
      const head = Buffer.alloc(8);
      head[0] = stream;
      head.writeUInt32BE(body.length, 4);
      return Buffer.concat([head, Buffer.from(body)]);
    };
    const bytes = Buffer.concat([frame(1, 'one'), frame(2, 'error'), frame(1, ''), frame(1, 'two')]);
    for (const size of [1, 5, 100]) {
      const reader = new FrameReader();
      let out = '';
      for (let at = 0; at < bytes.length; at += size)
        out += Buffer.concat(reader.push(bytes.subarray(at, at + size))).toString();
      expect(out).toBe('onetwo');
      const other = new FrameReader();
      out = '';
      for (let at = 0; at < bytes.length; at += size) out += other.joined(bytes.subarray(at, at + size)).toString();
      expect(out).toBe('onetwo');
    }
  });

  it('takes a chunk of a thousand short lines, each a frame of its own, as one piece in one turn', async () => {
    // Each was looked through, kept, masked and written by itself: 70 ms a turn for a job that only says echo.
    const marks = stepMarks(nonce, 0);
    const frameOf = (body: string): Buffer => {
      const head = Buffer.alloc(8);
      head[0] = 1;
      head.writeUInt32BE(body.length, 4);
      return Buffer.concat([head, Buffer.from(body)]);
    };
    const lines = Array.from({ length: 20_000 }, (_, line) => `::step ${line} begin\n`);
    const all = [`${marks.begin}\n`, ...lines, `${marks.end} 0\n`];
    const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
    const stream = new ContainerStream({ attach: async () => socket } as unknown as Docker.Container);
    await stream.open();
    stream.begin(0, nonce, 2);
    const whole = Buffer.concat(all.map(frameOf));
    // As a socket is read that is never empty: all of it before any timer runs.
    for (let at = 0; at < whole.length; at += 64 << 10) socket.push(whole.subarray(at, at + (64 << 10)));
    socket.push(null);
    const chunks = Math.ceil(whole.length / (64 << 10));
    let [pieces, turns, text] = [0, 0, ''];
    const turning = (): void => {
      turns++;
      tick = setImmediate(turning);
    };
    let tick = setImmediate(turning);
    for await (const bytes of stream.live.follow(0, 0, new AbortController().signal)) {
      pieces++;
      text += Buffer.from(bytes).toString('latin1');
    }
    clearImmediate(tick);
    expect(text).toBe(lines.join(''));
    expect(stream.live.exitCode(0)).toBe(0);
    // A piece a chunk, and one more for each block that a chunk fills: the first ones are small.
    expect(pieces).toBeLessThanOrEqual(chunks * 2 + 8);
    expect(turns).toBeGreaterThanOrEqual(chunks - 2);
  });

  it('keeps a window of the newest bytes, and says when an offset has left it', () => {
    const live = new LiveOutput();
    expect(live.from(0, 0)).toBeNull();
    live.expect(0);
    live.add([
      { kind: 'bytes', index: 0, bytes: Buffer.from('abc') },
      { kind: 'bytes', index: 0, bytes: Buffer.from('de') },
    ]);
    expect(Buffer.concat(live.from(0, 1)?.chunks ?? []).toString()).toBe('bcde');
    expect(live.from(0, 5)).toEqual({ chunks: [], isEnd: false });
    for (let k = 0; k < 40; k++) live.add([{ kind: 'bytes', index: 0, bytes: Buffer.alloc(64 << 10) }]);
    expect(live.from(0, 1)).toBeNull();
    live.add([{ kind: 'end', index: 0, exitCode: 4 }]);
    expect(live.from(0, 5 + 40 * (64 << 10))).toEqual({ chunks: [], isEnd: true });
    expect(live.exitCode(0)).toBe(4);
    live.expect(1);
    expect(live.from(0, 0)).toBeNull();
  });
});

describe('a container that does not run any more', () => {
  const state = (ExitCode: number, OOMKilled = false) => ({ ExitCode, OOMKilled });

  it('whose keeper never began was ended by its entrypoint, unless by a signal or for want of memory', () => {
    const ended = endOfStopped(state(2), true, 'usage: tool\n\u001b[31mtool: no command sh\u001b[0m\n');
    expect(ended).toMatchObject({ kind: 'exited', exitCode: 2 });
    expect(ended.kind === 'exited' && ended.because).toContain('(exit code 2) instead of starting the job');
    expect(ended.kind === 'exited' && ended.because).toMatch(
      /saying: usage: tool \[31mtool: no command sh \[0m; where it takes no/,
    );
    expect(endOfStopped(state(0), true, '')).toMatchObject({ kind: 'exited', exitCode: 1 });
    for (const one of [endOfStopped(state(137), true, ''), endOfStopped(state(1, true), true, '')])
      expect(one).toMatchObject({ kind: 'lost', isUnclear: true });
  });

  it('whose keeper had begun was ended by somebody', () => {
    expect(endOfStopped(state(1), true)).toMatchObject({ kind: 'lost', isUnclear: true });
    expect(endOfStopped(state(93), true)).toMatchObject({ kind: 'exited', exitCode: 137 });
    expect(endOfStopped(null, true)).toEqual({ kind: 'lost', because: 'its container is gone' });
  });
});
