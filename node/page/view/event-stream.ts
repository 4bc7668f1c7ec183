interface StreamEvent {
  event: string;
  data: string;
}

/** Characters of one event: a mesh of many machines and jobs has a tenth. */
const eventChars = 8 << 20;

/** Server-sent events out of pieces of text, as they come: what is no comment and has data. */
export class EventReader {
  #rest = '';

  /** Throws where one event has no end. */
  read(piece: string): StreamEvent[] {
    this.#rest += piece.replace(/\r\n?/g, '\n');
    const blocks = this.#rest.split('\n\n');
    this.#rest = blocks.pop() ?? '';
    if (this.#rest.length > eventChars) throw new Error('an event without end');
    return blocks.flatMap((block) => {
      const fields = block.split('\n').map((line) => /^([^:]*):? ?(.*)$/s.exec(line) as RegExpExecArray);
      const of = (name: string): string[] => fields.filter(([, key]) => key === name).map(([, , value = '']) => value);
      const data = of('data');
      return data.length === 0 ? [] : [{ event: of('event').at(-1) ?? 'message', data: data.join('\n') }];
    });
  }
}
