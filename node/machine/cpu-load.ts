import { join } from 'node:path';
import { readKernelFile } from './kernel-file.ts';

/** In /proc/stat: time that no program had. */
const idleFields = [3, 4];
/** user, nice, system, idle, iowait, irq, softirq, steal; what guests had is in user already. */
const fields = 8;

/**
 * How busy this computer is, all cores together. Not by systeminformation, whose currentLoad starts a shell each time
 * and has the whole agent wait for it (6 ms here, 15 under load, every 2 s): heartbeats would come late.
 */
export class CpuLoad {
  readonly #file: string;
  #before = { busy: 0, all: 0 };

  constructor(proc = '/proc') {
    this.#file = join(proc, 'stat');
  }

  /** % since the last call, since boot at the first. 0 where the kernel does not tell. */
  percent(): number {
    const ticks = /^cpu +(.*)$/m.exec(this.#text())?.[1]?.split(' ').slice(0, fields).map(Number) ?? [];
    const all = ticks.reduce((sum, one) => sum + one, 0);
    const busy = all - idleFields.reduce((sum, field) => sum + (ticks[field] ?? 0), 0);
    const passed = all - this.#before.all;
    const share = passed > 0 ? (busy - this.#before.busy) / passed : 0;
    if (passed > 0) this.#before = { busy, all };
    return Math.min(100, Math.max(0, share * 100));
  }

  #text(): string {
    try {
      return readKernelFile(this.#file);
    } catch {
      return '';
    }
  }
}
