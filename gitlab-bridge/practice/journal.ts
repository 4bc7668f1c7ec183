import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { TableName, Tables } from './records.ts';

/**
 * State on disk as a journal of whole records, one JSON line each: the newest line of an id wins, `null` deletes. Lines
 * are written before a request is answered, so kill -9 forgets nothing that was said (a power cut may: lines are not
 * synced one by one; this is a stand-in). At the start the journal is rewritten into one snapshot, atomically.
 */
interface Line {
  t: TableName | 'next';
  id: number;
  /** The record; null = deleted. For `next`: the next free id by table. */
  v: unknown;
}

const compactAfterLines = 20_000;

export class Journal {
  private readonly path: string;
  private readonly tables = new Map<TableName, Map<number, unknown>>();
  private readonly next = new Map<string, number>();
  private readonly dirty = new Map<string, Line>();
  private file: number;
  private lines = 0;

  constructor(folder: string) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.path = join(folder, 'state.jsonl');
    this.load();
    this.file = this.compact();
  }

  table<T extends TableName>(name: T): ReadonlyMap<number, Tables[T]> {
    return this.map(name) as ReadonlyMap<number, Tables[T]>;
  }

  /** A new id; ids are never used twice, also not after a deletion. */
  newId(name: TableName): number {
    const id = this.next.get(name) ?? 1;
    this.next.set(name, id + 1);
    this.dirty.set('next', { t: 'next', id: 0, v: null });
    return id;
  }

  /** Puts a record; call it again after changing one in place. On disk at the next `flush`. */
  put<T extends TableName>(name: T, record: Tables[T]): void {
    this.map(name).set(record.id, record);
    this.dirty.set(`${name} ${record.id}`, { t: name, id: record.id, v: record });
  }

  drop(name: TableName, id: number): void {
    this.map(name).delete(id);
    this.dirty.set(`${name} ${id}`, { t: name, id, v: null });
  }

  flush(): void {
    if (this.dirty.size === 0) return;
    const lines = [...this.dirty.values()].map((line) => this.text(line));
    this.dirty.clear();
    writeFileSync(this.file, lines.join(''));
    this.lines += lines.length;
    if (this.lines < compactAfterLines) return;
    closeSync(this.file);
    this.file = this.compact();
  }

  close(): void {
    this.flush();
    closeSync(this.file);
  }

  private text(line: Line): string {
    const value = line.t === 'next' ? Object.fromEntries(this.next) : line.v;
    return `${JSON.stringify({ t: line.t, id: line.id, v: value })}\n`;
  }

  private map(name: TableName): Map<number, unknown> {
    let map = this.tables.get(name);
    if (map === undefined) {
      map = new Map();
      this.tables.set(name, map);
    }
    return map;
  }

  private load(): void {
    if (!existsSync(this.path)) return;
    const lines = readFileSync(this.path, 'utf8').split('\n');
    for (const [index, text] of lines.entries()) {
      if (text === '') continue;
      let line: Line;
      try {
        line = JSON.parse(text) as Line;
      } catch (cause) {
        // A torn last line is what kill -9 leaves: it was never answered. Anywhere else the file is damaged.
        if (index === lines.length - 1) break;
        throw new Error(`${this.path} line ${index + 1} is unreadable: move the folder away to start afresh`, {
          cause,
        });
      }
      if (line.t === 'next')
        for (const [name, id] of Object.entries(line.v as Record<string, number>)) this.next.set(name, id);
      else if (line.v === null) this.map(line.t).delete(line.id);
      else this.map(line.t).set(line.id, line.v);
    }
  }

  private compact(): number {
    const fresh = `${this.path}.new`;
    const file = openSync(fresh, 'w', 0o600);
    writeFileSync(file, this.text({ t: 'next', id: 0, v: null }));
    for (const [name, map] of this.tables)
      for (const [id, value] of map) writeFileSync(file, this.text({ t: name, id, v: value }));
    fsyncSync(file);
    closeSync(file);
    renameSync(fresh, this.path);
    this.lines = 0;
    return openSync(this.path, 'a', 0o600);
  }
}
