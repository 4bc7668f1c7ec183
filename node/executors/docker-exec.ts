import type { Readable } from 'node:stream';
import type Docker from 'dockerode';
import { withLimit } from './docker-engine.ts';
import { FrameReader } from './docker-log.ts';

interface ExecLimits {
  /** Until it must have ended, the engine's own answers included. */
  limitMs: number;
  /** Of what is kept; a whole frame more at most. What comes behind it is read and dropped. */
  mostChars: number;
}

/** The standard output of a short command in a container. Throws when it cannot be begun, or does not end in its time. */
export async function printedIn(
  container: Docker.Container,
  command: Pick<Docker.ExecCreateOptions, 'Cmd' | 'User'>,
  { limitMs, mostChars }: ExecLimits,
): Promise<string> {
  let stream: Readable | null = null;
  let isOver = false;
  const printed = async (): Promise<string> => {
    const exec = await container.exec({ ...command, AttachStdout: true });
    stream = (await exec.start({})) as unknown as Readable;
    // The engine may have taken longer than that to begin it.
    if (isOver) stream.destroy();
    const frames = new FrameReader();
    let text = '';
    for await (const chunk of stream)
      for (const payload of frames.push(chunk as Buffer))
        if (text.length < mostChars) text += payload.toString('latin1');
    return text;
  };
  try {
    return await withLimit(printed(), limitMs);
  } catch (cause) {
    isOver = true;
    (stream as Readable | null)?.destroy();
    throw cause;
  }
}
