package report

// Document prints a whole text as the result, such as a configuration, byte for
// byte. Its maker has to see to it that it cannot drive the terminal.
func (p *Printer) Document(text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.write(text)
}
