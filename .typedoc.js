import { Converter } from 'typedoc'

/** Gives each guide the name that its heading says, rather than that of its file. */
export function load(app) {
  app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_, document) => {
    const [first] = document.content
    const [, heading] = /^# (.+)$/m.exec(first?.text ?? '') ?? []
    if (heading) document.name = heading
  })
}
