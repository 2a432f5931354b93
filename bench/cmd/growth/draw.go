package main

import (
	"bytes"
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// drawAll puts the series side by side, each on its own logarithmic axes.
func drawAll(path string, measured []*series) error {
	canvas := vgsvg.New(vg.Length(len(measured))*12*vg.Centimeter, 9*vg.Centimeter)
	tiles := draw.Tiles{Rows: 1, Cols: len(measured), PadX: vg.Centimeter, PadTop: vg.Millimeter, PadBottom: vg.Millimeter, PadLeft: vg.Millimeter, PadRight: 5 * vg.Millimeter}
	var plots []*plot.Plot
	for _, s := range measured {
		p, err := s.plot()
		if err != nil {
			return err
		}
		plots = append(plots, p)
	}
	for i, c := range plot.Align([][]*plot.Plot{plots}, tiles, draw.New(canvas))[0] {
		plots[i].Draw(c)
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return fmt.Errorf("draw the growth: %w", err)
	}
	// A reader's machine may lack the font that the drawing names.
	anywhere := bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,sans-serif"))
	if err := os.WriteFile(path, anywhere, 0o644); err != nil {
		return fmt.Errorf("write the drawing: %w", err)
	}
	return nil
}

func (s *series) plot() (*plot.Plot, error) {
	var points plotter.XYs
	for i, size := range s.sizes {
		points = append(points, plotter.XY{X: float64(size), Y: s.seconds[i] * 1000})
	}
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return nil, fmt.Errorf("draw the series %q: %w", s.title, err)
	}
	p := plot.New()
	for _, text := range []*font.Font{&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font} {
		text.Variant = "Sans"
	}
	p.Title.TextStyle.Font.Size = 11
	p.Title.Text = fmt.Sprintf("%s\nexponent %.2f", s.title, s.exponent())
	p.X.Label.Text, p.Y.Label.Text = s.unit, "milliseconds"
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Scale, axis.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	line.Color, dots.Color = color.RGBA{B: 160, A: 255}, color.RGBA{B: 160, A: 255}
	dots.Shape = draw.CircleGlyph{}
	grid := plotter.NewGrid()
	p.Add(grid, line, dots)
	return p, nil
}
