/** A fenced block of a page whose first line says more than its language: ```sh east. */
export interface Block {
  readonly language: string;
  /** Where the block belongs: `build`, `both`, `east`, …; for a file, the machine. */
  readonly place: string;
  /** The path of a file, for blocks that are one. */
  readonly path: string | undefined;
  readonly text: string;
}

export interface Chapter {
  readonly title: string;
  readonly blocks: readonly Block[];
}

/** The chapters of a Markdown page (`## …`) that hold labelled blocks, in their order. Fences without a label are prose. */
export function readChapters(markdown: string): Chapter[] {
  const chapters = markdown.split(/^## /m).slice(1);
  return chapters
    .map((text) => ({ title: text.slice(0, text.indexOf('\n')), blocks: readBlocks(text) }))
    .filter((chapter) => chapter.blocks.length > 0);
}

function readBlocks(text: string): Block[] {
  const fences = text.matchAll(/^```(?<language>\w+) (?<label>\S.*)\n(?<body>[\s\S]*?)^```$/gm);
  return [...fences].map((match) => {
    const { language = '', label = '', body = '' } = match.groups ?? {};
    const [place = '', path] = label.split(' ');
    return { language, place, path, text: body };
  });
}
