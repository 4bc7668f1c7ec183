import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { appsQuery, type GpuSample, gpuQuery, nvidiaSamples, parseGpuQuery } from './gpu-nvidia.ts';

export interface NvidiaAnswer {
  samples: GpuSample[];
  /** The driver's own words when it does not work; empty when all is well. */
  problems: string[];
  /** False when there is no nvidia-smi: no NVIDIA driver here. */
  isInstalled: boolean;
}

/** A driver that hangs must not hang the agent, ms. */
const timeoutMs = 8_000;
/** WSL2 keeps it outside the usual path. */
const places = ['nvidia-smi', '/usr/lib/wsl/lib/nvidia-smi'];

interface Answered {
  isThere: boolean;
  ok: boolean;
  text: string;
}

/** Looked for without starting a process: most machines have no such GPU, and this is asked every 10 s. */
function isThere(file: string): boolean {
  if (file.includes('/')) return existsSync(file);
  return (process.env.PATH ?? '').split(':').some((folder) => existsSync(join(folder, file)));
}

function run(file: string, args: string[]): Promise<Answered> {
  if (!isThere(file)) return Promise.resolve({ isThere: false, ok: false, text: '' });
  return new Promise((resolve) => {
    execFile(file, args, { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 1 << 20 }, (error, stdout, stderr) => {
      const missing = (error as NodeJS.ErrnoException | null)?.code;
      if (missing === 'ENOENT' || missing === 'EACCES') return resolve({ isThere: false, ok: false, text: '' });
      if (error?.killed)
        return resolve({ isThere: true, ok: false, text: `${file} did not answer within ${timeoutMs / 1000} s` });
      resolve({ isThere: true, ok: error === null, text: stdout.trim() === '' ? stderr : stdout });
    });
  });
}

/**
 * Asks nvidia-smi what the GPUs are and who uses them. Never throws: a broken driver is a problem in words. What is
 * asked first decides the rest: no GPU, no further calls; pmon (which names games) only where it works.
 */
export class NvidiaSmi {
  readonly #places: readonly string[];
  readonly #systemMemoryBytes: number;
  #file: string | null = null;
  #hasMigField = true;
  #pmonWorks = true;

  constructor(systemMemoryBytes: number, file?: string) {
    this.#places = file === undefined ? places : [file];
    this.#systemMemoryBytes = systemMemoryBytes;
  }

  async sample(): Promise<NvidiaAnswer> {
    const query = await this.#query();
    if (query === null) return { samples: [], problems: [], isInstalled: false };
    const { rows, problems } = parseGpuQuery(query.text);
    if (rows.length === 0) return { samples: [], problems, isInstalled: true };
    const list = rows.some((row) => row.isMig) ? (await this.#run(['-L'])).text : '';
    const apps = await this.#run([`--query-compute-apps=${appsQuery}`, '--format=csv,noheader,nounits']);
    const pmon = this.#pmonWorks ? await this.#run(['pmon', '-c', '1', '-s', 'um']) : null;
    if (pmon && !pmon.ok) this.#pmonWorks = false;
    const samples = nvidiaSamples(rows, {
      apps: apps.ok ? apps.text : null,
      pmon: pmon?.ok ? pmon.text : null,
      list,
      systemMemoryBytes: this.#systemMemoryBytes,
    });
    return { samples, problems, isInstalled: true };
  }

  async #query(): Promise<Answered | null> {
    const ask = (fields: string) => this.#run([`--query-gpu=${fields}`, '--format=csv,noheader,nounits']);
    const short = gpuQuery.replace(',mig.mode.current', '');
    const answered = await ask(this.#hasMigField ? gpuQuery : short);
    if (!answered.isThere) return null;
    if (this.#hasMigField && /not a valid field/i.test(answered.text)) this.#hasMigField = false;
    else if (this.#hasMigField) return answered;
    const old = this.#hasMigField ? answered : await ask(short);
    return { ...old, text: old.text.replace(/$/gm, ', [N/A]').replace(/^, \[N\/A\]$/gm, '') };
  }

  async #run(args: string[]): Promise<Answered> {
    if (this.#file !== null) return run(this.#file, args);
    for (const place of this.#places) {
      const answered = await run(place, args);
      if (!answered.isThere) continue;
      this.#file = place;
      return answered;
    }
    return { isThere: false, ok: false, text: '' };
  }
}
